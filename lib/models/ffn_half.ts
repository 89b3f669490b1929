// SPDX-License-Identifier: Apache-2.0
/** The feed-forward half of a block: y = x + down(silu(gate(h)) * up(h)) + hook(h), h = norm(x). */
import { linearBackward, linearForward } from "../ops/linear.ts";
import { rmsNormBackward, rmsNormForward, type RmsNormResiduals } from "../ops/norm.ts";
import { swigluBackward, swigluForward } from "../ops/swiglu.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LayerWeights } from "./model.ts";
import { backwardBeside, forwardBeside, type Hooked, isTrained, type StepContext } from "./step.ts";

/** What backward keeps: T*(D + 2F) floats, and the hook's own. */
export interface FfnHalfResiduals {
  readonly norm: RmsNormResiduals;
  /** (T,D) norm(x). */
  readonly h: Tensor;
  /** (T,F) each; backward turns them into their gradients. */
  readonly gate: Tensor;
  readonly up: Tensor;
  readonly hooked: Hooked | null;
}

/** Whether any weight of this half is trained. */
export function ffnIsTrained(w: LayerWeights): boolean {
  return isTrained([w.postAttentionNorm, w.gate, w.up, w.down, w.gateBias, w.upBias, w.downBias]);
}

/** @param x (T,D) read     @param y (T,D) written. @mutates y. @returns residuals, in the arena */
export async function ffnHalfForward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  x: Tensor,
  y: Tensor,
): Promise<FfnHalfResiduals> {
  const { k, config } = step;
  const { y: h, residuals: norm } = rmsNormForward(k, x, w.postAttentionNorm, config.rmsNormEps);
  const { hooked, kept } = await forwardBeside(k, step.hooks.ffn, layer, h, y, () => {
    const gate = linearForward(k, h, w.gate, { bias: w.gateBias });
    const up = linearForward(k, h, w.up, { bias: w.upBias });
    y.data.set(x.data);
    const mark = k.arena.mark();
    linearForward(k, swigluForward(k, gate, up), w.down, { bias: w.downBias, addTo: y });
    k.arena.release(mark);
    return { gate, up };
  });
  return { norm, h, hooked, ...kept };
}

/**
 * @param dx (T,D) holds dy; on return dx, when that is needed
 * @param needsInput Whether anything below this half is trained
 * @mutates dx, residuals, grads of w
 */
export async function ffnHalfBackward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  residuals: FfnHalfResiduals,
  dx: Tensor,
  needsInput: boolean,
): Promise<void> {
  const { k } = step;
  const { h, norm, hooked } = residuals;
  const reachesWeights = needsInput || ffnIsTrained(w);
  const dh = await backwardBeside(
    k,
    step.hooks.ffn,
    layer,
    hooked,
    h,
    dx,
    () => reachesWeights ? frozenBackward(step, w, residuals, dx) : null,
  );
  if (reachesWeights && dh !== null) rmsNormBackward(k, norm, w.postAttentionNorm, dh, { addTo: dx });
}

/** dy to dh through the three products. @mutates residuals, grads of w */
function frozenBackward(
  { k }: StepContext,
  w: LayerWeights,
  { h, gate, up }: FfnHalfResiduals,
  dy: Tensor,
): Tensor {
  // Only a trained `down` needs its input again; making it costs less than keeping it.
  const product = w.down.grad === null ? null : swigluForward(k, gate, up);
  const dproduct = linearBackward(k, product, w.down, dy, { bias: w.downBias });
  const { dgate, dup } = swigluBackward(k, { gate, up }, dproduct, { inPlace: true });
  const dh = linearBackward(k, h, w.gate, dgate, { bias: w.gateBias });
  return linearBackward(k, h, w.up, dup, { bias: w.upBias, addTo: dh });
}
