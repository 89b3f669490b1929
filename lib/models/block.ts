// SPDX-License-Identifier: Apache-2.0
/** The block recipe: an attention half, then a feed-forward half, each with its residual sum; and which of them train. */
import type { Block } from "../activations/policy.ts";
import { yieldWhenDue } from "../core/event_loop.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  attentionHalfBackward,
  attentionHalfForward,
  type AttentionHalfResiduals,
  attentionIsTrained,
} from "./attention_half.ts";
import { ffnHalfBackward, ffnHalfForward, type FfnHalfResiduals, ffnIsTrained } from "./ffn_half.ts";
import type { Hooks } from "./hooks.ts";
import type { LayerWeights, ModelWeights } from "./model.ts";
import { isTrained, type StepContext } from "./step.ts";

/** Residuals of a whole block. */
export interface BlockResiduals {
  readonly attention: AttentionHalfResiduals;
  readonly ffn: FfnHalfResiduals;
}

/** Sees the gradient (T,D) of the hidden state that enters a layer; it must be copied to be kept. For tests and study. */
export type GradientTap = (layer: number, dx: Tensor) => void;

/**
 * Places of a model by depth: 0 the embedding, 1 + 2l and 2 + 2l the halves of layer l, then the final norm and the head.
 * Gradients are carried down to the lowest trained one and no further.
 */
export function lowestTrained(weights: ModelWeights, hooks: Hooks): number {
  if (isTrained([weights.embedding])) return 0;
  for (const [layer, w] of weights.layers.entries()) {
    if (attentionIsTrained(w, hooks, layer)) return 1 + 2 * layer;
    if (ffnIsTrained(w, hooks, layer)) return 2 + 2 * layer;
  }
  const aboveLayers = 1 + 2 * weights.layers.length;
  if (isTrained([weights.finalNorm])) return aboveLayers;
  return isTrained([weights.head]) ? aboveLayers + 1 : Infinity;
}

/**
 * The blocks of one pass.
 *
 * @param lowest Lowest place whose gradient is wanted, by {@linkcode lowestTrained}
 */
export function createBlocks(
  step: StepContext,
  layers: readonly LayerWeights[],
  lowest: number,
  tap?: GradientTap,
): Block<BlockResiduals>[] {
  return layers.map((w, layer) => {
    const [attentionPlace, ffnPlace] = [1 + 2 * layer, 2 + 2 * layer];
    return {
      needsBackward: ffnPlace >= lowest,
      async forward(x, y, first) {
        const due = yieldWhenDue();
        if (due) await due;
        const { y: middle, residuals: attention } = await attentionHalfForward(
          step,
          layer,
          w,
          x,
          first?.attention,
        );
        return { attention, ffn: await ffnHalfForward(step, layer, w, middle, y, first?.ffn) };
      },
      async backward({ attention, ffn }, dx) {
        const due = yieldWhenDue();
        if (due) await due;
        const mark = step.k.arena.mark();
        await ffnHalfBackward(step, layer, w, ffn, dx, ffnPlace > lowest);
        step.k.arena.release(mark);
        if (attentionPlace >= lowest) {
          await attentionHalfBackward(step, layer, w, attention, dx, attentionPlace > lowest);
        }
        tap?.(layer, dx);
      },
    };
  });
}
