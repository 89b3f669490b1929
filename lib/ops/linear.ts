// SPDX-License-Identifier: Apache-2.0
/** Matrix products with a weight as stored: y = x w^T + bias. */
import { assertShape } from "../core/shape.ts";
import type { Activation, Floats, Tensor, Weight } from "../tensor/tensor.ts";
import { arenaTensor, assertWeight, rowsOf } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";
import { overlayOutputs } from "./row_overlay.ts";

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
  /** Whether the weight is kept as (I,O): y = x w + bias. Default: no. */
  readonly transposed?: boolean | undefined;
}

/**
 * Linear layer: y = x w^T + bias.
 *
 * @param x (...,I) float or bf16, read     @param w (O,I) as stored     bias (1,O). Where rows stand in the place of some of w's,
 *   y is float, and nothing is added to
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
  const [outputs, inputs] = sizesOf(w, options);
  const bias = options.bias ?? null;
  assertShape(`x of "${w.name}"`, x.shape, [...outer, inputs], "...,I");
  if (bias) assertWeight(bias, 1, outputs, "1,O");
  const y = resultOf(k, w, [...outer, outputs], "...,O", options);
  const [tokens, accumulate] = [rowsOf(x), options.addTo !== undefined];
  if (options.transposed !== true) k.linearForward(y.data, x.data, w, bias, tokens, accumulate);
  else {
    // The bias first: what a product is added to is rounded with it, once.
    if (bias) addBias(k, y, bias, tokens, accumulate);
    k.linearBackwardData(y.data, x.data, w, tokens, accumulate || bias !== null);
  }
  if (w.overlay) {
    if (accumulate || options.transposed === true || y.data instanceof Uint16Array) {
      throw new RangeError(
        `Rows of "${w.name}" are replaced: its product is written as floats, and not added`,
      );
    }
    overlayOutputs(k, y.data, x.data, w.overlay, bias, tokens);
  }
  return y;
}

/** y = bias in each row, or that added to y: the bias is the weight of a constant input of ones. */
function addBias(
  k: ModelKernels & Place,
  y: Activation,
  bias: Weight,
  tokens: number,
  accumulate: boolean,
): void {
  const mark = k.arena.mark();
  k.linearForward(y.data, ones(k, tokens), { ...bias, rows: bias.cols, cols: 1 }, null, tokens, accumulate);
  k.arena.release(mark);
}

function ones(k: ModelKernels & Place, count: number): Floats {
  const values = k.arenaFloats(count);
  k.copy(values, k.floats(count).fill(1));
  return values;
}

/** O and I. */
function sizesOf(
  { rows, cols }: Weight,
  { transposed }: Pick<LinearOptions, "transposed">,
): [number, number] {
  return transposed === true ? [cols, rows] : [rows, cols];
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
  const [outputs, inputs] = sizesOf(w, options);
  assertShape(`dy of "${w.name}"`, dy.shape, [...outer, outputs], "...,O");
  linearBackwardWeight(k, x, w, dy, options);
  const dx = resultOf(k, w, [...outer, inputs], "...,I", options);
  const [tokens, accumulate] = [rowsOf(dy), options.addTo !== undefined];
  if (options.transposed === true) k.linearForward(dx.data, dy.data, w, null, tokens, accumulate);
  else k.linearBackwardData(dx.data, dy.data, w, tokens, accumulate);
  return dx;
}

/**
 * The weight's part of {@linkcode linearBackward}: dw += dy^T x,  dbias += sum over rows of dy.
 *
 * @param x (...,I) float or bf16; may be null when the weight is frozen     @param dy (...,O) float or bf16
 * @mutates w.grad, options.bias.grad
 * @throws {RangeError} When a shape disagrees, or x is missing for a trained weight
 */
export function linearBackwardWeight(
  k: ModelKernels & Place,
  x: Activation | null,
  w: Weight,
  dy: Activation,
  { bias, transposed }: Pick<LinearOptions, "bias" | "transposed"> = {},
): void {
  const tokens = rowsOf(dy);
  const dbias = bias?.grad ?? null;
  const together = transposed === true ? null : dbias;
  if (w.grad) {
    if (!x) {
      throw new RangeError(`x of "${w.name}" is missing: the weight is trained, so forward must keep it`);
    }
    assertShape(
      `x of "${w.name}"`,
      x.shape,
      [...dy.shape.slice(0, -1), sizesOf(w, { transposed })[1]],
      "...,I",
    );
    const [rows, cols] = transposed === true ? [x, dy] : [dy, x];
    k.linearBackwardWeight(w.grad, together, rows.data, cols.data, tokens, w.rows, w.cols);
    if (together === dbias) return;
  }
  if (dbias) {
    // By itself: it is the weight of a constant input of ones.
    const mark = k.arena.mark();
    k.linearBackwardWeight(dbias, null, dy.data, ones(k, tokens), tokens, dbias.length, 1);
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
