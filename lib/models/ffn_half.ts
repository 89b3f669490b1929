// SPDX-License-Identifier: Apache-2.0
/** The feed-forward half of a block: y = x + down(silu(gate(h)) * up(h)) + hook(h), h = norm(x). */
import { rmsNormBackward, rmsNormForward, type RmsNormResiduals } from "../ops/norm.ts";
import { swigluBackward, swigluForward } from "../ops/swiglu.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Hooks } from "./hooks.ts";
import { siteBackward, siteForward, siteIsTrained } from "./linear_site.ts";
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

const SITES = ["gate", "up", "down"] as const;

/** Whether backward has something to add to in this half: its weights, or what hooks train. */
export function ffnIsTrained(w: LayerWeights, hooks: Hooks): boolean {
  return hooks.ffn !== undefined || isTrained([w.postAttentionNorm]) ||
    SITES.some((site) => siteIsTrained(w, hooks, site));
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
    const gate = siteForward(step, layer, w, "gate", h);
    const up = siteForward(step, layer, w, "up", h);
    y.data.set(x.data);
    const mark = k.arena.mark();
    siteForward(step, layer, w, "down", swigluForward(k, gate, up), y);
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
  const wanted = needsInput || isTrained([w.postAttentionNorm]);
  const dh = await backwardBeside(
    k,
    step.hooks.ffn,
    layer,
    hooked,
    h,
    dx,
    () => frozenBackward(step, layer, w, residuals, dx, wanted),
  );
  if (wanted && dh !== null) rmsNormBackward(k, norm, w.postAttentionNorm, dh, { addTo: dx });
}

/** dy to dh (when that is wanted) through the three products. @mutates residuals, grads of w, what the hook trains */
function frozenBackward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  { h, gate, up }: FfnHalfResiduals,
  dy: Tensor,
  wanted: boolean,
): Tensor | null {
  const { k, hooks } = step;
  const trained = (site: typeof SITES[number]): boolean => siteIsTrained(w, hooks, site);
  // Only a trained `down` needs its input again; making it costs less than keeping it.
  const product = trained("down") ? swigluForward(k, gate, up) : null;
  const belowDown = wanted || trained("gate") || trained("up");
  const dproduct = siteBackward(step, layer, w, "down", product, dy, belowDown);
  if (dproduct === null) return null;
  const { dgate, dup } = swigluBackward(k, { gate, up }, dproduct, { inPlace: true });
  const dh = siteBackward(step, layer, w, "gate", h, dgate, wanted);
  return siteBackward(step, layer, w, "up", h, dup, wanted, dh);
}
