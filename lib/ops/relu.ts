// SPDX-License-Identifier: Apache-2.0
/** The activation of parallel adapters. */
import { assertShape } from "../core/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { arenaTensor } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** `inPlace`: the result takes the memory of the first tensor. */
export interface ReluOptions {
  readonly inPlace?: boolean;
}

/**
 * ReLU: y = max(x, 0).
 *
 * @param x (...) float     @returns y (...) float, in the arena or in place of x. Backward keeps y.
 * @mutates x, when inPlace
 */
export function reluForward(k: ModelKernels & Place, x: Tensor, options: ReluOptions = {}): Tensor {
  const y = options.inPlace ? x : arenaTensor(k, x.shape);
  k.reluForward(y.data, x.data);
  return y;
}

/**
 * ReLU, backward: dx = dy where y > 0, else 0 (0 at the kink).
 *
 * @param y (...) float, kept by forward     @param dy (...) float
 * @returns dx (...) float, in the arena or in place of dy
 * @mutates dy, when inPlace
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function reluBackward(
  k: ModelKernels & Place,
  y: Tensor,
  dy: Tensor,
  options: ReluOptions = {},
): Tensor {
  assertShape("dy of relu", dy.shape, y.shape);
  const dx = options.inPlace ? dy : arenaTensor(k, y.shape);
  k.reluBackward(dx.data, dy.data, y.data);
  return dx;
}
