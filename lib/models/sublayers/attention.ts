// SPDX-License-Identifier: Apache-2.0
/** Attention as a sublayer: y = x + attention(norm(x)) + hook(norm(x)). */
import { arenaActivation, arenaTensor } from "../../ops/arena_tensor.ts";
import { attentionBackward, attentionForward, type AttentionResiduals } from "../../ops/attention.ts";
import { normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import { rotaryBackward, rotaryForward } from "../../ops/rotary.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import type { Attention, Linear, Norm } from "../parts.ts";
import { hooksBeside } from "../hooks.ts";
import { forwardBeside } from "./beside.ts";
import { isTrained, type StepContext } from "./context.ts";
import { hookedBackward, hookedForward, linearIsTrained } from "./linear.ts";
import { normedBackward, type NormedResiduals } from "./normed.ts";
import type { SublayerKind } from "./sublayer.ts";

/**
 * What backward keeps besides x: T*2(H + Hkv)Dh elements of activations, T*(1 + H) floats, head norms' inputs, and the hook's
 * own.
 */
export interface AttentionSublayerResiduals extends NormedResiduals {
  /** Null where the family has no head norms. */
  readonly qNorm: NormResiduals<Activation> | null;
  readonly kNorm: NormResiduals<Activation> | null;
  readonly attention: AttentionResiduals;
}

/** Products whose input is h. */
const inputsOf = ({ q, k, v }: Attention): Linear[] => [q, k, v];

/** See {@linkcode Attention}. */
export const attention: SublayerKind<Attention, AttentionSublayerResiduals> = {
  async forward(step, layer, part, x, y, again) {
    const { k } = step;
    const { h } = step.scratch;
    const beside = hooksBeside(step.hooks, part.kind);
    const { residuals: norm } = normForward(k, x, part.norm, { into: h });
    const { hooked, kept } = await forwardBeside(step, beside, layer, y, () => {
      const q = heads(step, hookedForward(step, layer, part.q, h), part.heads, part.qNorm);
      const keys = heads(step, hookedForward(step, layer, part.k, h), part.kvHeads, part.kNorm);
      const values = split(hookedForward(step, layer, part.v, h), part.kvHeads);
      const fresh = { keys: keys.rotated, values };
      const seen = step.extend?.(layer, fresh) ?? fresh;
      const options = { spans: step.spans, sees: "past", window: part.window } as const;
      const { y: o, residuals } = attentionForward(k, q.rotated, seen.keys, seen.values, options);
      if (again?.needsOutput !== false) {
        k.copy(y.data, x.data);
        hookedForward(step, layer, part.o, join(o), y);
      }
      return { qNorm: q.norm, kNorm: keys.norm, attention: residuals };
    }, again);
    return { norm, hooked, ...kept };
  },

  backward(step, layer, part, residuals, dx, needsInput) {
    return normedBackward(
      step,
      layer,
      part,
      { residuals, inputs: inputsOf(part), dx, needsInput },
      (wanted) => frozenBackward(step, layer, part, residuals, dx, wanted),
    );
  },
};

/** dy to dh (when that is wanted) through projections and attention. @mutates grads of the part, what the hook trains */
function frozenBackward(
  step: StepContext,
  layer: number,
  part: Attention,
  { qNorm, kNorm, attention }: AttentionSublayerResiduals,
  dy: Tensor,
  wanted: boolean,
): Tensor | null {
  const { k, hooks, scratch: { h } } = step;
  const belowAttention = wanted || isTrained([part.qNorm?.weight, part.kNorm?.weight]) ||
    inputsOf(part).some((linear) => linearIsTrained(linear, hooks, layer));
  const o = join(attention.o);
  const to = belowAttention ? { into: arenaActivation(k, o.shape) } : null;
  const dO = hookedBackward(step, layer, part.o, o, dy, to);
  if (dO === null) return null;
  const options = { spans: step.spans, sees: "past", window: part.window } as const;
  const { dq, dk, dv } = attentionBackward(k, attention, split(dO, part.heads), options);
  const seen = { keys: dk, values: dv };
  const own = step.extendBackward?.(layer, seen) ?? seen;
  const dprojected = headsBackward(step, dq, part.qNorm, qNorm);
  const into = wanted ? { into: arenaTensor(k, h.shape) } : null;
  const dh = hookedBackward(step, layer, part.q, h, dprojected, into);
  const rest = dh && { addTo: dh };
  hookedBackward(step, layer, part.k, h, headsBackward(step, own.keys, part.kNorm, kNorm), rest);
  return hookedBackward(step, layer, part.v, h, join(own.values), rest);
}

/** Splits a projection (T,heads*Dh) into heads, norms each where the family does, rotates. */
function heads(
  step: StepContext,
  projected: Activation,
  count: number,
  norm: Norm | null,
): { rotated: Activation; norm: NormResiduals<Activation> | null } {
  const { k, rope } = step;
  const normed = norm && normForward(k, split(projected, count), norm);
  const rotated = rotaryForward(k, normed?.y ?? split(projected, count), rope.tables, rope.rows);
  return { rotated, norm: normed?.residuals ?? null };
}

/** @returns The gradient of the projection, (T,heads*Dh). @mutates d, grad of the norm */
function headsBackward(
  { k, rope }: StepContext,
  d: Activation,
  norm: Norm | null,
  residuals: NormResiduals<Activation> | null,
): Activation {
  const unrotated = rotaryBackward(k, d, rope.tables, rope.rows);
  return join(norm && residuals ? normBackward(k, residuals, norm, unrotated) : unrotated);
}

/** (T,heads*Dh) seen as (T,heads,Dh). */
function split({ shape: [tokens = 0, width = 0], data }: Activation, count: number): Activation {
  return { shape: [tokens, count, width / count], data };
}

/** (T,heads,Dh) seen as (T,heads*Dh). */
function join({ shape: [tokens = 0, count = 0, headDim = 0], data }: Activation): Activation {
  return { shape: [tokens, count * headDim], data };
}
