// SPDX-License-Identifier: Apache-2.0
/** A plain model: one residual stream that a layer's sublayers add to, one after the other. A layer is a step. */
import type { Stage, Step } from "../../activations/policy.ts";
import { yieldWhenDue } from "../../core/event_loop.ts";
import type { ArenaMark } from "../../native/arena_layout.ts";
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

/** What a stage left, and what was in use before it: all behind that is its own, or of stages above. */
interface StageResiduals {
  readonly before: ArenaMark;
  readonly own: unknown;
}

/** Stages one after the other as one. Residuals are those of each, in order. */
export function chained(k: Kernels, stages: readonly PlainStage[]): Stage<readonly StageResiduals[]> {
  const last = stages.length - 1;
  return {
    async forward(x, y, again, landing) {
      const due = yieldWhenDue();
      if (due) await due;
      const residuals: StageResiduals[] = [];
      let input = x;
      for (const [i, { stage }] of stages.entries()) {
        const output = i === last ? y : arenaTensor(k, input.shape);
        const before = k.arena.mark();
        const isLast = i === last;
        const first = again?.first[i]?.own;
        const own = again &&
          (isLast ? { ...again, first } : { first, needsOutput: true });
        residuals.push({
          before,
          own: await stage.forward(input, output, own, isLast ? landing : undefined),
        });
        input = output;
      }
      return residuals;
    },
    async backward(residuals, dx) {
      const due = yieldWhenDue();
      if (due) await due;
      for (const [i, { stage, needsBackward }] of [...stages.entries()].reverse()) {
        if (!needsBackward) break;
        const { before, own } = residuals[i] as StageResiduals;
        await stage.backward(own, dx);
        k.arena.release(before); // what it left is spent: the stages below have its place
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
): Step<readonly StageResiduals[]> {
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
    entersApart: false,
    enter: (x) => [x],
    gradients: (x) => [arenaTensor(k, x.shape)],
    enterGradient: ([dx]) => dx as Tensor,
    enterBackward() {},
    leave: ([y]) => y as Tensor,
    leaveGradient: ([dx]) => dx as Tensor,
    leaveBackward() {},
  };
}
