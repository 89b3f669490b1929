// SPDX-License-Identifier: Apache-2.0
/** Checks of arguments on their way to C, which sees addresses and cannot know how much lies behind them. */
import { MEFT_BF16, MEFT_F32 } from "../../native/symbols.ts";
import type { ActivationArray, Floats, ModelArray, RowMatrix } from "../../tensor/tensor.ts";

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

/** An activation as the library sees it: its elements, and which type they are. */
export interface NativeActivation {
  readonly data: Float32Array | Uint16Array;
  /** MEFT_F32, or MEFT_BF16. */
  readonly dtype: number;
}

/** An array of f32 or bf16 with room for `count` elements. @throws As {@linkcode f32} */
export function activation(name: string, array: ActivationArray, count: number): NativeActivation {
  if (array instanceof Uint16Array) return { data: room(name, array, count), dtype: MEFT_BF16 };
  return { data: f32(name, array, count), dtype: MEFT_F32 };
}

/** Like {@linkcode activation}, of the type given. @throws {TypeError | RangeError} When of another type, or shorter */
export function activationOf(
  dtype: number,
  name: string,
  array: ActivationArray,
  count: number,
): Float32Array | Uint16Array {
  const { data, dtype: own } = activation(name, array, count);
  if (own === dtype) return data;
  const typed = (of: number): string => of === MEFT_BF16 ? "bf16" : "f32";
  throw new TypeError(`${name} is ${typed(own)}, expected ${typed(dtype)} here`);
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

/** @throws {TypeError | RangeError} When one array cannot be copied to the other */
export function checkPair(to: ModelArray, from: ModelArray): void {
  const integers = (array: ModelArray): boolean => array instanceof Int32Array;
  if (to.BYTES_PER_ELEMENT !== from.BYTES_PER_ELEMENT || integers(to) !== integers(from)) {
    throw new TypeError(`Cannot copy a ${from.constructor.name} to a ${to.constructor.name}`);
  }
  if (to.length !== from.length) {
    throw new RangeError(`Cannot copy ${from.length} elements to an array of ${to.length}`);
  }
}
