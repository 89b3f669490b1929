// SPDX-License-Identifier: Apache-2.0
/** Rotary position embedding (Su et al., 2021), halves convention: pairs (i, i + R/2) of the first R of a head's Dh. */
import { assertLength, assertShape } from "../core/shape.ts";
import type { Activation, Floats } from "../tensor/tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** Cosines and sines by position. A scale of attention (yarn) may be folded into both. */
export interface RotaryTables {
  /** (rows, R/2), row-major. */
  readonly cos: Floats;
  /** (rows, R/2), row-major. */
  readonly sin: Floats;
  readonly rows: number;
  /** R: how many of each head turn, from its first on; the others stay. Even, at most Dh. */
  readonly rotaryDim: number;
}

/**
 * Rotates x in place: (a, b) -> (a cos - b sin, b cos + a sin), with the angles of row positions[t].
 *
 * @param x (T,H,Dh) float or bf16, rotated in place and returned     @param positions (T) int32
 * @mutates x
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function rotaryForward<A extends Activation>(
  k: ModelKernels & Place,
  x: A,
  tables: RotaryTables,
  positions: Int32Array,
): A {
  return rotate(k, x, tables, positions, false);
}

/**
 * Rotary embedding, backward: the transpose, (a, b) -> (a cos + b sin, b cos - a sin).
 *
 * @param dy (T,H,Dh) float or bf16, turned into dx in place and returned     @param positions (T) int32
 * @mutates dy
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function rotaryBackward<A extends Activation>(
  k: ModelKernels & Place,
  dy: A,
  tables: RotaryTables,
  positions: Int32Array,
): A {
  return rotate(k, dy, tables, positions, true);
}

function rotate<A extends Activation>(
  k: ModelKernels & Place,
  x: A,
  tables: RotaryTables,
  positions: Int32Array,
  inverse: boolean,
): A {
  const [, heads = 0, headDim = 0] = x.shape;
  assertShape("x of rotary", x.shape, [positions.length, heads, headDim], "T,H,Dh");
  const { cos, sin, rows, rotaryDim } = tables;
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim) {
    throw new RangeError(`rotaryDim of rotary is ${rotaryDim}, expected an even number up to ${headDim}`);
  }
  assertLength("cos of rotary", cos, rows * rotaryDim / 2);
  assertLength("sin of rotary", sin, rows * rotaryDim / 2);
  k.ropeApply(x.data, cos, sin, positions, heads, headDim, rotaryDim, inverse);
  return x;
}
