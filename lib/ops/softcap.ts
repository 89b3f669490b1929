// SPDX-License-Identifier: Apache-2.0
/** Capped logits (Bello et al., 2016; Gemma Team, 2024): they stay within their cap, and small ones as they are. */
import { assertShape } from "../core/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { arenaTensor } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/**
 * y = cap tanh(x / cap).
 *
 * @param x (...) float, becomes x / cap, which backward keeps     @param into (...) float, written; in the arena when absent
 * @mutates x, into
 * @throws {RangeError} When the shapes disagree, naming both
 */
export function softcapForward(k: ModelKernels & Place, x: Tensor, cap: number, into?: Tensor): Tensor {
  if (into) assertShape("y of softcap", into.shape, x.shape);
  const y = into ?? arenaTensor(k, x.shape);
  k.scale(x.data, 1 / cap);
  k.activationForward(y.data, x.data, null, "tanh");
  k.scale(y.data, cap);
  return y;
}

/**
 * A cap, backward: dx = dy (1 - tanh(x / cap)^2), in the place of dy.
 *
 * @param kept (...) float x / cap, as forward left it     @param dy (...) float, becomes dx. @mutates dy
 * @throws {RangeError} When the shapes disagree, naming both
 */
export function softcapBackward(k: ModelKernels & Place, kept: Tensor, dy: Tensor): Tensor {
  assertShape("dy of softcap", dy.shape, kept.shape);
  k.activationBackward(dy.data, null, dy.data, kept.data, null, "tanh");
  return dy;
}
