// SPDX-License-Identifier: Apache-2.0
/** The feed-forward half of a block: y = x + down(silu(gate(h)) * up(h)) + hook(h), h = norm(x). */
import { arenaActivation, arenaTensor } from "../ops/arena_tensor.ts";
import { rmsNormAgain, rmsNormBackward, rmsNormForward, type RmsNormResiduals } from "../ops/norm.ts";
import { swigluBackward, swigluForward } from "../ops/swiglu.ts";
import type { Activation, Tensor } from "../tensor/tensor.ts";
import type { Hooks } from "./hooks.ts";
import { siteBackward, siteForward, siteIsTrained } from "./linear_site.ts";
import type { LayerWeights } from "./model.ts";
import { backwardBeside, forwardBeside, type Hooked, isTrained, type StepContext } from "./step.ts";

/** What backward keeps besides x: 2TF elements of activations, T floats, and the hook's own. */
export interface FfnHalfResiduals {
  readonly norm: RmsNormResiduals;
  /** (T,F) each; backward turns them into their gradients. */
  readonly gate: Activation;
  readonly up: Activation;
  readonly hooked: Hooked | null;
}

/** Weights whose input is h. */
const INPUT_SITES = ["gate", "up"] as const;
const SITES = [...INPUT_SITES, "down"] as const;

/** Whether backward has something to add to in this half: its weights, or what hooks train. */
export function ffnIsTrained(w: LayerWeights, hooks: Hooks, layer: number): boolean {
  return hooks.ffn !== undefined || isTrained([w.postAttentionNorm]) ||
    SITES.some((site) => siteIsTrained(w, hooks, layer, site));
}

/**
 * @param x (T,D) read     @param y (T,D) written; left incomplete with `first`
 * @param first See `Block.forward`
 * @returns residuals, in the arena     @mutates y
 */
export async function ffnHalfForward(
  step: StepContext,
  layer: number,
  w: LayerWeights,
  x: Tensor,
  y: Tensor,
  first?: FfnHalfResiduals,
): Promise<FfnHalfResiduals> {
  const { k, config } = step;
  const { h } = step.scratch;
  const { residuals: norm } = rmsNormForward(k, x, w.postAttentionNorm, config.rmsNormEps, { into: h });
  const { hooked, kept } = await forwardBeside(step, step.hooks.ffn, layer, y, () => {
    const gate = siteForward(step, layer, w, "gate", h);
    const up = siteForward(step, layer, w, "up", h);
    if (first) return { gate, up };
    k.copy(y.data, x.data);
    const mark = k.arena.mark();
    siteForward(step, layer, w, "down", swigluForward(k, gate, up), y);
    k.arena.release(mark);
    return { gate, up };
  }, first && { first: first.hooked, needsOutput: false });
  return { norm, hooked, ...kept };
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
  const { k, config, hooks, scratch } = step;
  const { norm, hooked } = residuals;
  const wanted = needsInput || isTrained([w.postAttentionNorm]);
  if (hooks.ffn !== undefined || INPUT_SITES.some((site) => siteIsTrained(w, hooks, layer, site))) {
    rmsNormAgain(k, norm, w.postAttentionNorm, config.rmsNormEps, scratch.h);
  }
  const dh = await backwardBeside(
    step,
    hooks.ffn,
    layer,
    hooked,
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
  { gate, up }: FfnHalfResiduals,
  dy: Tensor,
  wanted: boolean,
): Tensor | null {
  const { k, hooks, scratch: { h } } = step;
  const trained = (site: typeof SITES[number]): boolean => siteIsTrained(w, hooks, layer, site);
  // Only a trained `down` needs its input again; making it costs less than keeping it.
  const product = trained("down") ? swigluForward(k, gate, up) : null;
  const belowDown = wanted || trained("gate") || trained("up");
  const to = belowDown ? { into: arenaActivation(k, gate.shape) } : null;
  const dproduct = siteBackward(step, layer, w, "down", product, dy, to);
  if (dproduct === null) return null;
  const { dgate, dup } = swigluBackward(k, { gate, up }, dproduct, { inPlace: true });
  const dh = siteBackward(
    step,
    layer,
    w,
    "gate",
    h,
    dgate,
    wanted ? { into: arenaTensor(k, h.shape) } : null,
  );
  return siteBackward(step, layer, w, "up", h, dup, dh && { addTo: dh });
}
