// SPDX-License-Identifier: Apache-2.0
/** A product with a weight of a sublayer or a head, together with the hooks on it: the only place where the two meet. */
import { arenaActivation, rowsOf } from "../../ops/arena_tensor.ts";
import { linearBackward, linearBackwardWeight, linearForward, type LinearResult } from "../../ops/linear.ts";
import type { Activation } from "../../tensor/tensor.ts";
import { type Hooks, hooksOn } from "../hooks.ts";
import { linearSize } from "../part_tensors.ts";
import type { Linear } from "../parts.ts";
import { isTrained, type StepContext } from "./context.ts";

/** Whether backward has something to add to at a product: its weight, its bias, or what its hooks train. */
export function linearIsTrained({ site, weight, bias }: Linear, hooks: Hooks, layer: number): boolean {
  return isTrained([weight, bias]) || hooksOn(hooks, layer, site).length > 0;
}

/** What a product needs of a pass. */
export type ProductContext = Pick<StepContext, "k" | "hooks">;

/**
 * y = x w^T + bias + the hooks' deltas.
 *
 * @param layer Its number, as hooks know it; behind all layers is the head     @param x (T,I) read     @param to (T,O) where the result is written or added; an activation in the arena when absent
 * @returns y (T,O). Backward needs x again where {@linkcode linearIsTrained}.
 */
export function hookedForward(
  { k, hooks }: ProductContext,
  layer: number,
  linear: Linear,
  x: Activation,
  to: LinearResult = { into: arenaActivation(k, [rowsOf(x), linearSize(linear).outputs]) },
): Activation {
  const { site, weight, bias, transposed } = linear;
  const y = linearForward<Activation>(k, x, weight, { bias, transposed, ...to });
  for (const hook of hooksOn(hooks, layer, site)) hook.forward(layer, site, x, y);
  return y;
}

/**
 * Backward of {@linkcode hookedForward}.
 *
 * @param x (T,I) as given to forward; may be null where nothing is trained     @param dy (T,O) read
 * @param to Where dx (T,I) is written or added to; null when nothing needs it, and nothing is computed for it
 * @returns dx (T,I), or null when it is not wanted     @mutates to, grads of the product, what the hooks train
 * @throws {RangeError} When x is missing where something is trained
 */
export function hookedBackward<A extends Activation>(
  { k, hooks }: ProductContext,
  layer: number,
  { site, weight, bias, transposed }: Linear,
  x: Activation | null,
  dy: Activation,
  to: LinearResult<A> | null,
): A | null {
  const dx = to ? linearBackward(k, x, weight, dy, { bias, transposed, ...to }) : null;
  if (!to) linearBackwardWeight(k, x, weight, dy, { bias, transposed });
  for (const hook of hooksOn(hooks, layer, site)) {
    if (!x) {
      throw new RangeError(`x of "${weight.name}" is missing: it has a hook, so forward must keep it`);
    }
    hook.backward(layer, site, x, dy, dx);
  }
  return dx;
}
