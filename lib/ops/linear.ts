// SPDX-License-Identifier: Apache-2.0
/** Matrix products with a weight as stored: y = x w^T + bias. */
import { assertShape } from "../core/shape.ts";
import type { Activation, Tensor, Weight } from "../tensor/tensor.ts";
import { arenaTensor, assertWeight, rowsOf } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** Where the result of a product goes; an f32 (f64) tensor from the arena when neither is given. */
export interface LinearResult<A extends Activation = Activation> {
  /** The result is written here, and returned. */
  readonly into?: A;
  /** The result is added to this tensor, and returned. */
  readonly addTo?: A;
}

/** Choices of {@linkcode linearForward} and {@linkcode linearBackward}. */
export interface LinearOptions<A extends Activation = Activation> extends LinearResult<A> {
  /** (1,O); null or absent for none. */
  readonly bias?: Weight | null;
}

/**
 * Linear layer: y = x w^T + bias.
 *
 * @param x (...,I) float or bf16, read     @param w (O,I) as stored     bias (1,O)
 * @param options `addTo`, `into` (...,O) float or bf16: accumulated or written, and returned
 * @returns y (...,O), float in the arena unless it is given. Backward keeps x, and only when the weight is trained.
 * @mutates options.addTo, options.into
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function linearForward<A extends Activation = Tensor>(
  k: ModelKernels & Place,
  x: Activation,
  w: Weight,
  options: LinearOptions<A> = {},
): A {
  const outer = x.shape.slice(0, -1);
  const bias = options.bias ?? null;
  assertShape(`x of "${w.name}"`, x.shape, [...outer, w.cols], "...,I");
  if (bias) assertWeight(bias, 1, w.rows, "1,O");
  const y = resultOf(k, w, [...outer, w.rows], "...,O", options);
  k.linearForward(y.data, x.data, w, bias, rowsOf(x), options.addTo !== undefined);
  return y;
}

/**
 * Linear layer, backward: dx = dy w,  dw += dy^T x,  dbias += sum over rows of dy.
 *
 * Nothing is computed for a weight or bias without a `grad`.
 *
 * @param x  (...,I) float or bf16 as given to forward; may be null when the weight is frozen
 * @param dy (...,O) float or bf16, read
 * @param options `addTo`, `into` (...,I) float or bf16: dx is added to it or written, and it is returned
 * @returns dx (...,I), float in the arena unless it is given
 * @mutates w.grad, options.bias.grad, options.addTo, options.into
 * @throws {RangeError} When a shape disagrees, or x is missing for a trained weight
 */
export function linearBackward<A extends Activation = Tensor>(
  k: ModelKernels & Place,
  x: Activation | null,
  w: Weight,
  dy: Activation,
  options: LinearOptions<A> = {},
): A {
  const outer = dy.shape.slice(0, -1);
  assertShape(`dy of "${w.name}"`, dy.shape, [...outer, w.rows], "...,O");
  linearBackwardWeight(k, x, w, dy, options.bias);
  const dx = resultOf(k, w, [...outer, w.cols], "...,I", options);
  k.linearBackwardData(dx.data, dy.data, w, rowsOf(dy), options.addTo !== undefined);
  return dx;
}

/**
 * The weight's part of {@linkcode linearBackward}: dw += dy^T x,  dbias += sum over rows of dy.
 *
 * @param x (...,I) float or bf16; may be null when the weight is frozen     @param dy (...,O) float or bf16
 * @mutates w.grad, bias.grad
 * @throws {RangeError} When a shape disagrees, or x is missing for a trained weight
 */
export function linearBackwardWeight(
  k: ModelKernels & Place,
  x: Activation | null,
  w: Weight,
  dy: Activation,
  bias: Weight | null = null,
): void {
  const tokens = rowsOf(dy);
  const dbias = bias?.grad ?? null;
  if (w.grad) {
    if (!x) {
      throw new RangeError(`x of "${w.name}" is missing: the weight is trained, so forward must keep it`);
    }
    assertShape(`x of "${w.name}"`, x.shape, [...dy.shape.slice(0, -1), w.cols], "...,I");
    k.linearBackwardWeight(w.grad, dbias, dy.data, x.data, tokens, w.rows, w.cols);
  } else if (dbias) {
    // Only the bias is trained: it is the weight of a constant input of ones.
    const mark = k.arena.mark();
    const ones = k.arenaFloats(tokens);
    k.copy(ones, k.floats(tokens).fill(1));
    k.linearBackwardWeight(dbias, null, dy.data, ones, tokens, w.rows, 1);
    k.arena.release(mark);
  }
}

/** What a product writes or adds to; a new float tensor when the caller gave none. */
function resultOf<A extends Activation>(
  k: ModelKernels & Place,
  { name }: Weight,
  shape: readonly number[],
  dimensions: string,
  { into, addTo }: LinearResult<A>,
): A {
  if (addTo) assertShape(`addTo of "${name}"`, addTo.shape, shape, dimensions);
  if (into) assertShape(`into of "${name}"`, into.shape, shape, dimensions);
  return addTo ?? into ?? arenaTensor(k, shape) as Activation as A;
}
