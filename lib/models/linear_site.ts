// SPDX-License-Identifier: Apache-2.0
/** A product with one of a layer's weights, together with the hook on it: the only place where the two meet. */
import { arenaActivation, rowsOf } from "../ops/arena_tensor.ts";
import { linearBackward, linearBackwardWeight, linearForward, type LinearResult } from "../ops/linear.ts";
import type { Activation, Tensor } from "../tensor/tensor.ts";
import type { Hooks } from "./hooks.ts";
import type { LayerWeights } from "./model.ts";
import type { LinearSite } from "./sites.ts";
import { isTrained, type StepContext } from "./step.ts";

/** Whether backward has something to add to at a site: its weight, its bias, or what its hook trains. */
export function siteIsTrained(w: LayerWeights, hooks: Hooks, layer: number, site: LinearSite): boolean {
  return isTrained([w[site], w[`${site}Bias`]]) || hooks.linear?.has(layer, site) === true;
}

/**
 * y = x w^T + bias + the hook's delta.
 *
 * @param x (T,I) read     @param addTo (T,O) the result is added to it, and it is returned
 * @returns y (T,O), else an activation in the arena. Backward needs x again where {@linkcode siteIsTrained}.
 */
export function siteForward(
  { k, hooks }: StepContext,
  layer: number,
  w: LayerWeights,
  site: LinearSite,
  x: Activation,
  addTo?: Tensor,
): Activation {
  const to = addTo ? { addTo } : { into: arenaActivation(k, [rowsOf(x), w[site].rows]) };
  const y = linearForward<Activation>(k, x, w[site], { bias: w[`${site}Bias`], ...to });
  if (hooks.linear?.has(layer, site)) hooks.linear.forward(layer, site, x, y);
  return y;
}

/**
 * Backward of {@linkcode siteForward}.
 *
 * @param x (T,I) as given to forward; may be null where nothing is trained     @param dy (T,O) read
 * @param to Where dx (T,I) is written or added to; null when nothing needs it, and nothing is computed for it
 * @returns dx (T,I), or null when it is not wanted     @mutates to, grads of w, what the hook trains
 * @throws {RangeError} When x is missing where something is trained
 */
export function siteBackward<A extends Activation>(
  { k, hooks }: StepContext,
  layer: number,
  w: LayerWeights,
  site: LinearSite,
  x: Activation | null,
  dy: Activation,
  to: LinearResult<A> | null,
): A | null {
  const bias = w[`${site}Bias`];
  const dx = to ? linearBackward(k, x, w[site], dy, { bias, ...to }) : null;
  if (!to) linearBackwardWeight(k, x, w[site], dy, bias);
  if (hooks.linear?.has(layer, site)) {
    if (!x) {
      throw new RangeError(`x of "${w[site].name}" is missing: it has a hook, so forward must keep it`);
    }
    hooks.linear.backward(layer, site, x, dy, dx);
  }
  return dx;
}
