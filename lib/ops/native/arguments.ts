// SPDX-License-Identifier: Apache-2.0
/** Checks of arguments on their way to C, which sees addresses and cannot know how much lies behind them. */
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";

/** An array with room for `count` elements. @throws {RangeError} When it is shorter */
export function room<T extends { readonly length: number }>(name: string, array: T, count: number): T {
  if (array.length >= count) return array;
  throw new RangeError(`${name} has ${array.length} elements, expected ${count}`);
}

/** An f32 array with room for `count` elements. @throws {TypeError | RangeError} When of another type, or shorter */
export function f32(name: string, array: Floats, count: number): Float32Array {
  if (array instanceof Float32Array) return room(name, array, count);
  throw new TypeError(
    `${name} is a ${array.constructor.name}, expected a Float32Array: native kernels take f32`,
  );
}

/** Like {@linkcode f32}, null passed on. */
export function f32OrNull(name: string, array: Floats | null, count: number): Float32Array | null {
  return array === null ? null : f32(name, array, count);
}

/** A row matrix whose planes cover its rows. @throws {RangeError} When they do not, as in the reference backend */
export function planes(name: string, matrix: RowMatrix): RowMatrix {
  room(`${name}.hi`, matrix.hi, matrix.rows * matrix.cols);
  room(`${name}.lo`, matrix.lo, matrix.rows * matrix.cols);
  return matrix;
}
