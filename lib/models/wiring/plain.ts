// SPDX-License-Identifier: Apache-2.0
/** A plain model: one residual stream that a layer's sublayers add to, one after the other. A layer is a step. */
import type { Stage, Step } from "../../activations/policy.ts";
import { yieldWhenDue } from "../../core/event_loop.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";

/** A stage of a layer. */
export interface PlainStage {
  readonly stage: Stage<unknown>;
  /** Whether backward has anything to do here. Once false for a stage, it is false for all stages below. */
  readonly needsBackward: boolean;
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
  const last = stages.length - 1;
  return {
    needsBackward: stages.some(({ needsBackward }) => needsBackward),
    async forward([x], [y], first) {
      const due = yieldWhenDue();
      if (due) await due;
      const residuals: unknown[] = [];
      let input = x as Tensor;
      for (const [i, { stage }] of stages.entries()) {
        const output = i === last ? y as Tensor : arenaTensor(k, input.shape);
        const again = first && { first: first[i], needsOutput: i < last };
        residuals.push(await stage.forward(input, output, again));
        input = output;
      }
      return residuals;
    },
    async backward(residuals, [dx]) {
      const due = yieldWhenDue();
      if (due) await due;
      for (const [i, { stage, needsBackward }] of [...stages.entries()].reverse()) {
        if (!needsBackward) break;
        const mark = k.arena.mark();
        await stage.backward(residuals[i], dx as Tensor);
        if (i > 0) k.arena.release(mark); // of the lowest the policy gives back all
      }
      left?.(dx as Tensor);
    },
  };
}
