// SPDX-License-Identifier: Apache-2.0
/** Sums of tensors: the residual stream. */
import { assertShape } from "../core/shape.ts";
import type { Activation } from "../tensor/tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/**
 * y += x. Its backward pass is the identity: both branches receive dy.
 *
 * @param y (...) float, accumulated and returned     @param x (...) float, read
 * @mutates y
 * @throws {RangeError} When the shapes disagree, naming both
 */
export function addInto<A extends Activation>(k: ModelKernels & Place, y: A, x: A): A {
  assertShape("x of add", x.shape, y.shape);
  k.add(y.data, x.data);
  return y;
}
