// SPDX-License-Identifier: Apache-2.0
/**
 * Attention to another stack as a sublayer: f(h) = o(attention(q(h), k(e), v(e))), e being what came out of the stack before.
 * The gradient of e is summed over all layers, in the type of the residual stream.
 */
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { AttentionResiduals } from "../../ops/attention.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { CrossAttention } from "../parts.ts";
import { attendBackward, attendForward, type Attending, inHeads, joined } from "./attend.ts";
import type { KeyValues, SourceContext, StepContext } from "./context.ts";
import { hookedBackward, hookedForward, linearIsTrained } from "./linear.ts";
import { normedBackward, normedForward, type NormedResiduals } from "./normed.ts";
import type { SublayerKind } from "./sublayer.ts";

/** What backward keeps besides: T*2H*Dh + N*2Hkv*Dh elements of activations, and T*H floats. */
interface CrossAttentionKept {
  readonly attention: AttentionResiduals;
}

/** All that backward keeps. */
export type CrossAttentionResiduals = NormedResiduals & CrossAttentionKept;

/** See {@linkcode CrossAttention}. */
export const crossAttention: SublayerKind<CrossAttention, CrossAttentionResiduals> = {
  forward(step, layer, part, given) {
    const source = sourceOf(step, part);
    return normedForward(step, layer, part, given, (h, to): CrossAttentionKept => {
      const [queries] = part.inputs;
      const q = inHeads(hookedForward(step, layer, queries, h), part.heads);
      const seen = source.remembered?.(layer) ?? sourceKeys(step, layer, part, hiddenOf(source));
      return { attention: attendForward(step, attending(source, layer, part), q, seen, to) };
    });
  },

  backward(step, layer, part, residuals, dx, needsInput) {
    const [queries] = part.inputs;
    const back = { residuals, inputs: [queries], dx, needsInput };
    return normedBackward(
      step,
      layer,
      part,
      back,
      (h, dy, wanted) => innerBackward(step, layer, part, residuals, { h, dy, wanted }),
    );
  },
};

/**
 * Keys and values of what the stack before gave, as a layer sees them: the same for all tokens, however many are decoded.
 *
 * @param hidden (N,D) read     @returns (N,Hkv,Dh) each, in the arena
 */
export function sourceKeys(
  step: StepContext,
  layer: number,
  { inputs: [, keys, values], kvHeads }: CrossAttention,
  hidden: Tensor,
): KeyValues {
  return {
    keys: inHeads(hookedForward(step, layer, keys, hidden), kvHeads),
    values: inHeads(hookedForward(step, layer, values, hidden), kvHeads),
  };
}

/** dy to dh (when that is wanted), and to the gradient of the other stack. @mutates that; grads of the part, what the hooks train */
function innerBackward(
  step: StepContext,
  layer: number,
  part: CrossAttention,
  { attention }: CrossAttentionResiduals,
  { h, dy, wanted }: { readonly h: Tensor; readonly dy: Tensor; readonly wanted: boolean },
): Tensor | null {
  const source = sourceOf(step, part);
  const { gradient } = source;
  const [queries, keys, values] = part.inputs;
  const isBelow = wanted || gradient !== null ||
    part.inputs.some((linear) => linearIsTrained(linear, step.hooks, layer));
  const inner = attendBackward(step, attending(source, layer, part), attention, dy, isBelow);
  if (inner === null) return null;
  const { k } = step;
  const to = gradient && { addTo: gradient };
  for (const [linear, d] of [[keys, inner.dk], [values, inner.dv]] as const) {
    hookedBackward(step, layer, linear, hiddenOf(source), joined(d), to);
  }
  const dh = wanted ? { into: arenaTensor(k, h.shape) } : null;
  return hookedBackward(step, layer, queries, h, joined(inner.dq), dh);
}

function attending({ spans }: SourceContext, layer: number, { o, scale }: CrossAttention): Attending {
  return { layer, o, options: { spans, sees: "all", scale } };
}

function sourceOf({ source }: StepContext, { module }: CrossAttention): SourceContext {
  if (source === undefined) throw new RangeError(`Nothing was encoded that ${module} could see`);
  return source;
}

function hiddenOf({ hidden }: SourceContext): Tensor {
  if (hidden === null) throw new RangeError("Only keys and values of the source are remembered");
  return hidden;
}
