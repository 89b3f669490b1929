// SPDX-License-Identifier: Apache-2.0
/**
 * Rows that take their optimizer step inside the backward pass of their layer, while their gradients are in cache: these are
 * never written. The bits are those of an update after all of backward.
 */
import type { StepData } from "../data/batches.ts";
import { clipOf } from "../optim/clip.ts";
import type { UpdateStep } from "../optim/optimizer.ts";
import type { Parameter } from "../optim/parameters.ts";
import { clippedUpdate } from "./clipped_update.ts";
import type { LayerUpdates } from "./layer_updates.ts";
import type { Run } from "./plan.ts";
import type { TrainState } from "./state.ts";

/**
 * Whether rows may take their step in the backward pass: it is the only one of the step, nothing asks for all gradients
 * together, and no lane beside the model's could take the step meanwhile.
 */
export function fusesRows({ model: { kernels: k }, optimizer, rows }: Run, data: StepData): boolean {
  const onePass = data.microBatches.length === 1 && rows.halves === 1;
  const onHost = rows.placement === "host" && !k.hostBeside;
  return onePass && onHost && clipOf(optimizer, "all") === null;
}

/** @mutates state's parameters and optimizer state, from the first layer's backward on */
export function rowUpdates(run: Run, { params, optim }: TrainState, step: UpdateStep): LayerUpdates {
  const squares = new Map<Parameter, number>();
  const rowStep = run.optimizer.rowStep(optim, step);
  let [good, begun] = [true, false];
  return {
    squares,
    rows: {
      // A layer whose gradient is not finite does not move, nor does any after it.
      step: () => good ? rowStep : null,
      stepped(ofLayer) {
        let sum = 0;
        for (const [parameter, square] of ofLayer) {
          sum += square;
          if (parameter.kind === "rows") squares.set(parameter, square);
        }
        good = Number.isFinite(sum);
        begun ||= good;
      },
    },
    seeLoss: (lossSum) => void (good &&= Number.isFinite(lossSum)),
    afterLayer: () => {},
    get begun() {
      return begun;
    },
    settle: () => Promise.resolve(),
    finish() {
      const only = (parameter: Parameter): boolean => !squares.has(parameter);
      return clippedUpdate(run.model.kernels, run.optimizer, params, optim, step, { only, squares });
    },
  };
}
