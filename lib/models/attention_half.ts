// SPDX-License-Identifier: Apache-2.0
/** The attention half of a block: y = x + attention(norm(x)) + hook(norm(x)). */
import { arenaActivation, arenaTensor } from "../ops/arena_tensor.ts";
import { attentionBackward, attentionForward, type AttentionResiduals } from "../ops/attention.ts";
import { rmsNormAgain, rmsNormBackward, rmsNormForward, type RmsNormResiduals } from "../ops/norm.ts";
import { rotaryBackward, rotaryForward } from "../ops/rotary.ts";
import type { Activation, Tensor, Weight } from "../tensor/tensor.ts";
import type { Hooks } from "./hooks.ts";
import { siteBackward, siteForward, siteIsTrained } from "./linear_site.ts";
import type { LayerWeights } from "./model.ts";
import { backwardBeside, forwardBeside, type Hooked, isTrained, type StepContext } from "./step.ts";

/**
 * What backward keeps: T*2(H + Hkv)Dh elements of activations, T*(2D + H + 1) floats, head norms' inputs, and the hook's
 * own.
 */
export interface AttentionHalfResiduals {
  readonly norm: RmsNormResiduals;
  /** Null where the family has no head norms. */
  readonly qNorm: RmsNormResiduals<Activation> | null;
  readonly kNorm: RmsNormResiduals<Activation> | null;
  readonly attention: AttentionResiduals;
  readonly hooked: Hooked | null;
}

/** Weights whose input is h. */
const INPUT_SITES = ["q", "k", "v"] as const;
const SITES = [...INPUT_SITES, "o"] as const;

/** Whether backward has something to add to in this half: its weights, or what hooks train. */
export function attentionIsTrained(w: LayerWeights, hooks: Hooks, layer: number): boolean {
  return hooks.attention !== undefined || isTrained([w.inputNorm, w.qNorm, w.kNorm]) ||
    SITES.some((site) => siteIsTrained(w, hooks, layer, site));
}

/**
 * @param x (T,D) read     @param first What an earlier forward on the same x left; y is made once more
 * @returns y (T,D) and residuals, in the arena
 */
export async function attentionHalfForward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  x: Tensor,
  first?: AttentionHalfResiduals,
): Promise<{ y: Tensor; residuals: AttentionHalfResiduals }> {
  const { k, config } = step;
  const { h } = step.scratch;
  const { residuals: norm } = rmsNormForward(k, x, w.inputNorm, config.rmsNormEps, { into: h });
  const y = arenaTensor(k, x.shape);
  k.copy(y.data, x.data);
  const { hooked, kept } = await forwardBeside(step, step.hooks.attention, layer, y, () => {
    const q = heads(step, siteForward(step, layer, w, "q", h), config.numAttentionHeads, w.qNorm);
    const keys = heads(step, siteForward(step, layer, w, "k", h), config.numKeyValueHeads, w.kNorm);
    const values = split(siteForward(step, layer, w, "v", h), config.numKeyValueHeads);
    const fresh = { keys: keys.rotated, values };
    const seen = step.extend?.(layer, fresh) ?? fresh;
    const options = { spans: step.spans, window: config.slidingWindows[layer] as number };
    const { y: o, residuals } = attentionForward(k, q.rotated, seen.keys, seen.values, options);
    siteForward(step, layer, w, "o", join(o), y);
    return { qNorm: q.norm, kNorm: keys.norm, attention: residuals };
  }, first && { first: first.hooked, needsOutput: true });
  return { y, residuals: { norm, hooked, ...kept } };
}

/**
 * @param dx (T,D) holds dy; on return dx, when that is needed
 * @param needsInput Whether anything below this half is trained
 * @mutates dx, grads of w
 */
export async function attentionHalfBackward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  residuals: AttentionHalfResiduals,
  dx: Tensor,
  needsInput: boolean,
): Promise<void> {
  const { k, config, hooks, scratch } = step;
  const { norm, hooked } = residuals;
  const wanted = needsInput || isTrained([w.inputNorm]);
  if (hooks.attention !== undefined || INPUT_SITES.some((site) => siteIsTrained(w, hooks, layer, site))) {
    rmsNormAgain(k, norm, w.inputNorm, config.rmsNormEps, scratch.h);
  }
  const dh = await backwardBeside(
    step,
    hooks.attention,
    layer,
    hooked,
    dx,
    () => frozenBackward(step, layer, w, residuals, dx, wanted),
  );
  if (wanted && dh !== null) rmsNormBackward(k, norm, w.inputNorm, dh, { addTo: dx });
}

/** dy to dh (when that is wanted) through projections and attention. @mutates grads of w, what the hook trains */
function frozenBackward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  { qNorm, kNorm, attention }: AttentionHalfResiduals,
  dy: Tensor,
  wanted: boolean,
): Tensor | null {
  const { k, config, hooks, scratch: { h } } = step;
  const belowAttention = wanted || isTrained([w.qNorm, w.kNorm]) ||
    INPUT_SITES.some((site) => siteIsTrained(w, hooks, layer, site));
  const o = join(attention.o);
  const to = belowAttention ? { into: arenaActivation(k, o.shape) } : null;
  const dO = siteBackward(step, layer, w, "o", o, dy, to);
  if (dO === null) return null;
  const options = { spans: step.spans, window: config.slidingWindows[layer] as number };
  const { dq, dk, dv } = attentionBackward(k, attention, split(dO, config.numAttentionHeads), options);
  const seen = { keys: dk, values: dv };
  const own = step.extendBackward?.(layer, seen) ?? seen;
  const dprojected = headsBackward(step, dq, w.qNorm, qNorm);
  const dh = siteBackward(
    step,
    layer,
    w,
    "q",
    h,
    dprojected,
    wanted ? { into: arenaTensor(k, h.shape) } : null,
  );
  const rest = dh && { addTo: dh };
  siteBackward(step, layer, w, "k", h, headsBackward(step, own.keys, w.kNorm, kNorm), rest);
  return siteBackward(step, layer, w, "v", h, join(own.values), rest);
}

/** Splits a projection (T,heads*Dh) into heads, norms each where the family does, rotates. */
function heads(
  step: StepContext,
  projected: Activation,
  count: number,
  weight: Weight | null,
): { rotated: Activation; norm: RmsNormResiduals<Activation> | null } {
  const { k, config, rope } = step;
  const normed = weight && rmsNormForward(k, split(projected, count), weight, config.rmsNormEps);
  const rotated = rotaryForward(k, normed?.y ?? split(projected, count), rope.tables, rope.rows);
  return { rotated, norm: normed?.residuals ?? null };
}

/** @returns The gradient of the projection, (T,heads*Dh). @mutates d, weight.grad */
function headsBackward(
  { k, rope }: StepContext,
  d: Activation,
  weight: Weight | null,
  norm: RmsNormResiduals<Activation> | null,
): Activation {
  const unrotated = rotaryBackward(k, d, rope.tables, rope.rows);
  return join(weight && norm ? rmsNormBackward(k, norm, weight, unrotated) : unrotated);
}

/** (T,heads*Dh) seen as (T,heads,Dh). */
function split({ shape: [tokens = 0, width = 0], data }: Activation, count: number): Activation {
  return { shape: [tokens, count, width / count], data };
}

/** (T,heads,Dh) seen as (T,heads*Dh). */
function join({ shape: [tokens = 0, count = 0, headDim = 0], data }: Activation): Activation {
  return { shape: [tokens, count * headDim], data };
}
