// SPDX-License-Identifier: Apache-2.0
/** Norms of rows: root mean square (Zhang and Sennrich, 2019) and layer normalization (Ba et al., 2016). */
import { assertShape } from "../core/shape.ts";
import type { Activation, Tensor, Weight } from "../tensor/tensor.ts";
import { arenaLike, arenaTensor, assertWeight, rowsOf } from "./arena_tensor.ts";
import type { ModelKernels, NormCall } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** A norm as models have it. */
export interface RowNorm<W = Weight> extends Omit<NormCall<W>, "weight"> {
  /** Null where there is none: 1 throughout. */
  readonly weight: W | null;
}

/** What {@linkcode normBackward} needs. */
export interface NormResiduals<A extends Activation = Tensor> {
  /** (...,D) the input of forward. */
  readonly x: A;
  /** rms: (rows) rstd; layer: (2,rows) means and rstd. */
  readonly stats: Tensor;
}

/**
 * A norm over the last dimension: y = n * w + b, where n is
 *
 * rms:    x * rstd,           rstd = 1/sqrt(mean(x^2) + eps)
 * layer:  (x - mean) * rstd,  rstd = 1/sqrt(mean((x - mean)^2) + eps)
 *
 * and w is the stored weight, or 1 more where the norm has a unit offset.
 *
 * @param x (...,D) float or bf16, read
 * @param options `into` (...,D): where y is written, and returned
 * @returns y (...,D) of x's type and the statistics, in the arena. Backward keeps x and them.
 * @mutates options.into
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function normForward<A extends Activation>(
  k: ModelKernels & Place,
  x: A,
  norm: RowNorm,
  options: { readonly into?: A } = {},
): { y: A; residuals: NormResiduals<A> } {
  const call = normCall(k, norm, x);
  if (options.into) assertShape(`y of "${call.weight.name}"`, options.into.shape, x.shape, "...,D");
  const y = options.into ?? arenaLike(k, x);
  const stats = arenaTensor(k, statsShape(norm, x));
  k.normForward(y.data, stats.data, x.data, call, rowsOf(x));
  return { y, residuals: { x, stats } };
}

/**
 * The output of {@linkcode normForward} once more, bit for bit: cheaper made again than kept.
 *
 * @param norm As given to forward     @param into (...,D) float, written and returned
 * @mutates into
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function normAgain(
  k: ModelKernels & Place,
  { x, stats }: NormResiduals,
  norm: RowNorm,
  into: Tensor,
): Tensor {
  const call = normCall(k, norm, x);
  assertShape(`y of "${call.weight.name}"`, into.shape, x.shape, "...,D");
  k.normForward(into.data, stats.data, x.data, call, rowsOf(x));
  return into;
}

/**
 * A norm, backward. With g = w * dy:
 *
 * rms:    dx = rstd * (g - n * mean(g*n))
 * layer:  dx = rstd * (g - mean(g) - n * mean(g*n))
 *
 * and dw += sum over rows of dy * n,  db += sum over rows of dy.
 *
 * @param dy (...,D) of x's type, read
 * @param options `addTo` (...,D): dx is added to it, and it is returned
 * @returns dx (...,D) of x's type, in the arena
 * @mutates norm.weight.grad, norm.bias.grad, options.addTo
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function normBackward<A extends Activation>(
  k: ModelKernels & Place,
  { x, stats }: NormResiduals<A>,
  norm: RowNorm,
  dy: A,
  options: { readonly addTo?: A } = {},
): A {
  const call = normCall(k, norm, x);
  const { weight, bias } = call;
  assertShape(`dy of "${weight.name}"`, dy.shape, x.shape, "...,D");
  assertShape(`stats of "${weight.name}"`, stats.shape, statsShape(norm, x), "rows");
  if (options.addTo) assertShape(`addTo of "${weight.name}"`, options.addTo.shape, x.shape, "...,D");
  const dx = options.addTo ?? arenaLike(k, x);
  const accumulate = options.addTo !== undefined;
  const dnorm = { weight: weight.grad, bias: bias?.grad ?? null };
  k.normBackward(dx.data, dnorm, dy.data, x.data, stats.data, call, rowsOf(x), accumulate);
  return dx;
}

function statsShape({ kind }: Pick<RowNorm, "kind">, x: Activation): number[] {
  return kind === "layer" ? [2, rowsOf(x)] : [rowsOf(x)];
}

/** What kernels are given: where there is no weight, one of 0 that is added to 1. */
function normCall(k: Place, norm: RowNorm, x: Activation): NormCall {
  const width = x.shape.at(-1) ?? 0;
  const { weight, bias } = norm;
  if (bias) assertWeight(bias, 1, width, "1,D");
  if (weight === null) return { ...norm, weight: zeroWeight(k, width), unitOffset: true };
  assertWeight(weight, 1, width, "1,D");
  return norm as NormCall;
}

function zeroWeight(k: Place, cols: number): Weight {
  const { data } = arenaTensor(k, [cols]);
  k.zero(data);
  return { name: "a norm without weights", dtype: k.float, rows: 1, cols, data, mapped: null, grad: null };
}
