// SPDX-License-Identifier: Apache-2.0
/** Matrix products with a weight as stored: y = x w^T + bias. */
import { assertShape } from "../core/shape.ts";
import type { Tensor, Weight } from "../tensor/tensor.ts";
import { arenaTensor, assertWeight, rowsOf } from "./arena_tensor.ts";
import type { Kernels } from "./kernels.ts";

/** Choices of {@linkcode linearForward} and {@linkcode linearBackward}. */
export interface LinearOptions {
  /** (1,O); null or absent for none. */
  readonly bias?: Weight | null;
  /** The result is added to this tensor, which is then returned, in place of a new one. */
  readonly addTo?: Tensor;
}

/**
 * Linear layer: y = x w^T + bias.
 *
 * @param x (...,I) float, read     @param w (O,I) as stored     bias (1,O)
 * @param options `addTo` (...,O): accumulated and returned
 * @returns y (...,O) float, in the arena. Backward keeps x, and only when the weight is trained.
 * @mutates options.addTo
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function linearForward(k: Kernels, x: Tensor, w: Weight, options: LinearOptions = {}): Tensor {
  const outer = x.shape.slice(0, -1);
  const bias = options.bias ?? null;
  assertShape(`x of "${w.name}"`, x.shape, [...outer, w.cols], "...,I");
  if (bias) assertWeight(bias, 1, w.rows, "1,O");
  if (options.addTo) assertShape(`addTo of "${w.name}"`, options.addTo.shape, [...outer, w.rows], "...,O");
  const y = options.addTo ?? arenaTensor(k, [...outer, w.rows]);
  k.linearForward(y.data, x.data, w, bias, rowsOf(x), options.addTo !== undefined);
  return y;
}

/**
 * Linear layer, backward: dx = dy w,  dw += dy^T x,  dbias += sum over rows of dy.
 *
 * Nothing is computed for a weight or bias without a `grad`.
 *
 * @param x  (...,I) float as given to forward; may be null when the weight is frozen
 * @param dy (...,O) float, read
 * @param options `addTo` (...,I): dx is added to it, and it is returned
 * @returns dx (...,I) float, in the arena
 * @mutates w.grad, options.bias.grad, options.addTo
 * @throws {RangeError} When a shape disagrees, or x is missing for a trained weight
 */
export function linearBackward(
  k: Kernels,
  x: Tensor | null,
  w: Weight,
  dy: Tensor,
  options: LinearOptions = {},
): Tensor {
  const outer = dy.shape.slice(0, -1);
  assertShape(`dy of "${w.name}"`, dy.shape, [...outer, w.rows], "...,O");
  if (options.addTo) assertShape(`addTo of "${w.name}"`, options.addTo.shape, [...outer, w.cols], "...,I");
  linearBackwardWeight(k, x, w, dy, options.bias);
  const dx = options.addTo ?? arenaTensor(k, [...outer, w.cols]);
  k.linearBackwardData(dx.data, dy.data, w, rowsOf(dy), options.addTo !== undefined);
  return dx;
}

/**
 * The weight half of {@linkcode linearBackward}: dw += dy^T x,  dbias += sum over rows of dy.
 *
 * @param x (...,I) float; may be null when the weight is frozen     @param dy (...,O) float
 * @mutates w.grad, bias.grad
 * @throws {RangeError} When a shape disagrees, or x is missing for a trained weight
 */
export function linearBackwardWeight(
  k: Kernels,
  x: Tensor | null,
  w: Weight,
  dy: Tensor,
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
