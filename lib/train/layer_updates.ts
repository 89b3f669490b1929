// SPDX-License-Identifier: Apache-2.0
/**
 * Optimizer steps of layers whose gradients are complete, taken on the host lane while backward goes on in the layers below.
 * The bits are those of an update after all of backward: every parameter takes the same step with the same gradient.
 */
import type { FusedRows } from "../adapters/adapter.ts";
import { clipFactor, clipOf, gradientSquares, normOfSquares } from "../optim/clip.ts";
import type { OptimizerState, UpdateStep } from "../optim/optimizer.ts";
import type { Parameter } from "../optim/parameters.ts";
import { clippedUpdate } from "./clipped_update.ts";
import type { Run } from "./plan.ts";
import type { TrainState } from "./state.ts";

/** Updates of one step. */
export interface LayerUpdates {
  /** Given where rows move in the passes themselves. */
  readonly rows?: FusedRows;
  /** Sums of squares of gradients that were taken already, those of all that were not written among them. */
  readonly squares: ReadonlyMap<Parameter, number>;
  /** The loss of a part of the last micro-batch, before its backward. No layer is updated once the loss is not finite. */
  readonly seeLoss: (lossSum: number) => void;
  /** All gradients of the layer are complete: its update is given to the host lane, behind everything that is waited for. */
  readonly afterLayer: (layer: number) => void;
  /** Whether some layer may have moved. */
  readonly begun: boolean;
  /** Waits for the updates under way. @throws What one of them failed with */
  settle(): Promise<void>;
  /** Updates what is left. @throws What an update failed with. @mutates parameters, state */
  finish(): Promise<OptimizerState>;
}

/**
 * Whether layers may take their steps before all gradients are known: nothing asks for these together, and there is a lane
 * that would else wait.
 */
export function overlapsUpdates({ model, optimizer, rows }: Run): boolean {
  return model.kernels.hostBeside && clipOf(optimizer, "all") === null && rows.placement === "host";
}

/** @mutates state's parameters and optimizer state, from the first `afterLayer` on */
export function layerUpdates(run: Run, { params, optim }: TrainState, step: UpdateStep): LayerUpdates {
  const { kernels: k } = run.model;
  const done = new Set<Parameter>();
  const squares = new Map<Parameter, number>();
  const pending: Promise<unknown>[] = [];
  let state = optim;
  let good = true;
  const update = async (parameters: readonly Parameter[]): Promise<void> => {
    // A layer whose gradient is not finite does not move, nor does any after it.
    if (!good) return;
    const asked = gradientSquares(k, parameters);
    const found = asked instanceof Promise ? await asked : asked;
    found.forEach((square, parameter) => squares.set(parameter, square));
    const norm = normOfSquares(found);
    good = Number.isFinite(norm);
    if (!good) return;
    parameters.forEach((parameter) => done.add(parameter));
    const gradScale = step.gradScale * clipFactor(norm, clipOf(run.optimizer, "layer"));
    state = await run.optimizer.update(k, parameters, state, { ...step, gradScale });
  };
  const settle = async (): Promise<void> => {
    const results = await Promise.allSettled(pending);
    const failure = results.find((result) => result.status === "rejected");
    if (failure) throw failure.reason;
  };
  return {
    squares,
    seeLoss: (lossSum) => void (good = good && Number.isFinite(lossSum)),
    afterLayer(layer) {
      const parameters = params.byLayer[layer] ?? [];
      const job = k.hostJobs.runLater(() => update(parameters));
      if (!(job instanceof Promise)) return;
      job.catch(() => {}); // `settle` tells
      pending.push(job);
    },
    get begun() {
      return done.size > 0;
    },
    settle,
    async finish() {
      await settle();
      return await clippedUpdate(k, run.optimizer, params, state, step, {
        only: (parameter) => !done.has(parameter),
        squares,
      });
    },
  };
}
