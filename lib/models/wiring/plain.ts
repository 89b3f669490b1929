// SPDX-License-Identifier: Apache-2.0
/** A plain model: one residual stream that a layer's sublayers add to, one after the other. A layer is a step. */
import type { Stage, Step } from "../../activations/policy.ts";
import { yieldWhenDue } from "../../core/event_loop.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Wiring } from "./wiring.ts";

/** A stage of a layer. */
export interface PlainStage {
  readonly stage: Stage<unknown>;
  /** Whether backward has anything to do here. Once false for a stage, it is false for all stages below. */
  readonly needsBackward: boolean;
}

/** Stages one after the other as one. Residuals are those of each, in order. */
export function chained(k: Kernels, stages: readonly PlainStage[]): Stage<readonly unknown[]> {
  const last = stages.length - 1;
  return {
    async forward(x, y, again) {
      const due = yieldWhenDue();
      if (due) await due;
      const residuals: unknown[] = [];
      let input = x;
      for (const [i, { stage }] of stages.entries()) {
        const output = i === last ? y : arenaTensor(k, input.shape);
        const own = again && { first: again.first[i], needsOutput: i < last || again.needsOutput };
        residuals.push(await stage.forward(input, output, own));
        input = output;
      }
      return residuals;
    },
    async backward(residuals, dx) {
      const due = yieldWhenDue();
      if (due) await due;
      for (const [i, { stage, needsBackward }] of [...stages.entries()].reverse()) {
        if (!needsBackward) break;
        const mark = k.arena.mark();
        await stage.backward(residuals[i], dx);
        if (i > 0) k.arena.release(mark); // of the lowest the policy gives back all
      }
    },
  };
}

/**
 * A layer as a step. Residuals are those of its stages, in order.
 *
 * @param left Called when backward has left the layer, with dx (T,D)
 */
export function plainStep(
  k: Kernels,
  stages: readonly PlainStage[],
  left?: (dx: Tensor) => void,
): Step<readonly unknown[]> {
  const layer = chained(k, stages);
  return {
    needsBackward: stages.some(({ needsBackward }) => needsBackward),
    forward: ([x], [y], first) =>
      layer.forward(x as Tensor, y as Tensor, first && { first, needsOutput: false }),
    async backward(residuals, [dx]) {
      await layer.backward(residuals, dx as Tensor);
      left?.(dx as Tensor);
    },
  };
}

/** Layers on one stream. @param steps One a layer */
export function plainWiring(k: Kernels, steps: readonly Step<unknown>[]): Wiring {
  return {
    below: [],
    steps,
    lowest: 0,
    enter: (x) => [x],
    gradients: (x) => [arenaTensor(k, x.shape)],
    enterGradient: ([dx]) => dx as Tensor,
    enterBackward() {},
    leave: ([y]) => y as Tensor,
    leaveGradient: ([dx]) => dx as Tensor,
    leaveBackward() {},
  };
}
