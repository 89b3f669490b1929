// SPDX-License-Identifier: Apache-2.0
/** The attention half of a block: y = x + attention(norm(x)) + hook(norm(x)). */
import { arenaTensor } from "../ops/arena_tensor.ts";
import { attentionBackward, attentionForward, type AttentionResiduals } from "../ops/attention.ts";
import { linearBackward, linearForward } from "../ops/linear.ts";
import { rmsNormBackward, rmsNormForward, type RmsNormResiduals } from "../ops/norm.ts";
import { rotaryBackward, rotaryForward } from "../ops/rotary.ts";
import type { Tensor, Weight } from "../tensor/tensor.ts";
import type { LayerWeights } from "./model.ts";
import { backwardBeside, forwardBeside, type Hooked, isTrained, type StepContext } from "./step.ts";

/** What backward keeps: T*(2D + 2(H + 2Hkv)Dh) floats or less, and the hook's own. */
export interface AttentionHalfResiduals {
  readonly norm: RmsNormResiduals;
  /** (T,D) norm(x). */
  readonly h: Tensor;
  /** Null where the family has no head norms. */
  readonly qNorm: RmsNormResiduals | null;
  readonly kNorm: RmsNormResiduals | null;
  readonly attention: AttentionResiduals;
  readonly hooked: Hooked | null;
}

/** Whether any weight of this half is trained. */
export function attentionIsTrained(w: LayerWeights): boolean {
  const { inputNorm, q, k, v, o, qBias, kBias, vBias, oBias, qNorm, kNorm } = w;
  return isTrained([inputNorm, q, k, v, o, qBias, kBias, vBias, oBias, qNorm, kNorm]);
}

/** @param x (T,D) read. @returns y (T,D) and residuals, in the arena */
export async function attentionHalfForward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  x: Tensor,
): Promise<{ y: Tensor; residuals: AttentionHalfResiduals }> {
  const { k, config } = step;
  const { y: h, residuals: norm } = rmsNormForward(k, x, w.inputNorm, config.rmsNormEps);
  const y = arenaTensor(k, x.shape);
  y.data.set(x.data);
  const { hooked, kept } = await forwardBeside(k, step.hooks.attention, layer, h, y, () => {
    const q = heads(step, linearForward(k, h, w.q, { bias: w.qBias }), config.numAttentionHeads, w.qNorm);
    const keys = heads(step, linearForward(k, h, w.k, { bias: w.kBias }), config.numKeyValueHeads, w.kNorm);
    const values = split(linearForward(k, h, w.v, { bias: w.vBias }), config.numKeyValueHeads);
    const fresh = { keys: keys.rotated, values };
    const seen = step.extend?.(layer, fresh) ?? fresh;
    const options = { spans: step.spans, window: config.slidingWindows[layer] as number };
    const { y: o, residuals } = attentionForward(k, q.rotated, seen.keys, seen.values, options);
    linearForward(k, join(o), w.o, { bias: w.oBias, addTo: y });
    return { qNorm: q.norm, kNorm: keys.norm, attention: residuals };
  });
  return { y, residuals: { norm, h, hooked, ...kept } };
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
  const { k } = step;
  const { h, norm, hooked } = residuals;
  const reachesWeights = needsInput || attentionIsTrained(w);
  const dh = await backwardBeside(
    k,
    step.hooks.attention,
    layer,
    hooked,
    h,
    dx,
    () => reachesWeights ? frozenBackward(step, layer, w, residuals, dx) : null,
  );
  if (reachesWeights && dh !== null) rmsNormBackward(k, norm, w.inputNorm, dh, { addTo: dx });
}

/** dy to dh through projections and attention. @mutates grads of w */
function frozenBackward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  { h, qNorm, kNorm, attention }: AttentionHalfResiduals,
  dy: Tensor,
): Tensor {
  const { k, config } = step;
  const dO = linearBackward(k, join(attention.o), w.o, dy, { bias: w.oBias });
  const options = { spans: step.spans, window: config.slidingWindows[layer] as number };
  const { dq, dk, dv } = attentionBackward(k, attention, split(dO, config.numAttentionHeads), options);
  const dh = linearBackward(k, h, w.q, headsBackward(step, dq, w.qNorm, qNorm), { bias: w.qBias });
  linearBackward(k, h, w.k, headsBackward(step, dk, w.kNorm, kNorm), { bias: w.kBias, addTo: dh });
  return linearBackward(k, h, w.v, join(dv), { bias: w.vBias, addTo: dh });
}

/** Splits a projection (T,heads*Dh) into heads, norms each where the family does, rotates. */
function heads(
  step: StepContext,
  projected: Tensor,
  count: number,
  weight: Weight | null,
): { rotated: Tensor; norm: RmsNormResiduals | null } {
  const { k, config, rope } = step;
  const normed = weight && rmsNormForward(k, split(projected, count), weight, config.rmsNormEps);
  const rotated = rotaryForward(k, normed?.y ?? split(projected, count), rope.tables, rope.rows);
  return { rotated, norm: normed?.residuals ?? null };
}

/** @returns The gradient of the projection, (T,heads*Dh). @mutates d, weight.grad */
function headsBackward(
  { k, rope }: StepContext,
  d: Tensor,
  weight: Weight | null,
  norm: RmsNormResiduals | null,
): Tensor {
  const unrotated = rotaryBackward(k, d, rope.tables, rope.rows);
  return join(weight && norm ? rmsNormBackward(k, norm, weight, unrotated) : unrotated);
}

/** (T,heads*Dh) seen as (T,heads,Dh). */
function split({ shape: [tokens = 0, width = 0], data }: Tensor, count: number): Tensor {
  return { shape: [tokens, count, width / count], data };
}

/** (T,heads,Dh) seen as (T,heads*Dh). */
function join({ shape: [tokens = 0, count = 0, headDim = 0], data }: Tensor): Tensor {
  return { shape: [tokens, count * headDim], data };
}
