// SPDX-License-Identifier: Apache-2.0
/** RMS normalization (Zhang and Sennrich, 2019). */
import { assertShape } from "../core/shape.ts";
import type { Activation, Tensor, Weight } from "../tensor/tensor.ts";
import { arenaLike, arenaTensor, assertWeight, rowsOf } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** What {@linkcode rmsNormBackward} needs. */
export interface RmsNormResiduals<A extends Activation = Tensor> {
  /** (...,D) the input of forward. */
  readonly x: A;
  /** (rows) 1/sqrt(mean(x^2) + eps). */
  readonly rstd: Tensor;
}

/**
 * RMS normalization: y = x * rstd * w,  rstd = 1/sqrt(mean(x^2) + eps), over the last dimension.
 *
 * @param x (...,D) float or bf16, read     @param w (1,D) as stored
 * @param options `into` (...,D): where y is written, and returned
 * @returns y (...,D) of x's type and rstd (rows) float, in the arena. Backward keeps x and rstd.
 * @mutates options.into
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function rmsNormForward<A extends Activation>(
  k: ModelKernels & Place,
  x: A,
  w: Weight,
  eps: number,
  options: { readonly into?: A } = {},
): { y: A; residuals: RmsNormResiduals<A> } {
  assertWeight(w, 1, x.shape.at(-1) ?? 0, "1,D");
  if (options.into) assertShape(`y of "${w.name}"`, options.into.shape, x.shape, "...,D");
  const y = options.into ?? arenaLike(k, x);
  const rstd = arenaTensor(k, [rowsOf(x)]);
  k.rmsNormForward(y.data, rstd.data, x.data, w, rowsOf(x), eps);
  return { y, residuals: { x, rstd } };
}

/**
 * The output of {@linkcode rmsNormForward} once more, bit for bit: cheaper made again than kept.
 *
 * @param eps As given to forward     @param into (...,D) float, written and returned
 * @mutates into
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function rmsNormAgain(
  k: ModelKernels & Place,
  { x, rstd }: RmsNormResiduals,
  w: Weight,
  eps: number,
  into: Tensor,
): Tensor {
  assertWeight(w, 1, x.shape.at(-1) ?? 0, "1,D");
  assertShape(`y of "${w.name}"`, into.shape, x.shape, "...,D");
  k.rmsNormForward(into.data, rstd.data, x.data, w, rowsOf(x), eps);
  return into;
}

/**
 * RMS normalization, backward.
 *
 * With n = x * rstd:  dx = rstd * (w*dy - n * mean(w*dy*n)),  dw += sum over rows of dy * n.
 *
 * @param dy (...,D) of x's type, read
 * @param options `addTo` (...,D): dx is added to it, and it is returned
 * @returns dx (...,D) of x's type, in the arena
 * @mutates w.grad, options.addTo
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function rmsNormBackward<A extends Activation>(
  k: ModelKernels & Place,
  residuals: RmsNormResiduals<A>,
  w: Weight,
  dy: A,
  options: { readonly addTo?: A } = {},
): A {
  const { x, rstd } = residuals;
  assertWeight(w, 1, x.shape.at(-1) ?? 0, "1,D");
  assertShape(`dy of "${w.name}"`, dy.shape, x.shape, "...,D");
  assertShape(`rstd of "${w.name}"`, rstd.shape, [rowsOf(x)], "rows");
  if (options.addTo) assertShape(`addTo of "${w.name}"`, options.addTo.shape, x.shape, "...,D");
  const dx = options.addTo ?? arenaLike(k, x);
  const accumulate = options.addTo !== undefined;
  k.rmsNormBackward(dx.data, w.grad, dy.data, x.data, rstd.data, w, rowsOf(x), accumulate);
  return dx;
}
