// SPDX-License-Identifier: Apache-2.0
/**
 * Numbers across the boundary. Deno's FFI wraps or truncates a bad integer without a word once a call is hot, and gives
 * 64-bit results as bigint: every integer goes through one of these.
 */

const INT32_MAX = 2 ** 31 - 1;
const UINT32_MAX = 2 ** 32 - 1;

/** For an `int64_t`. @throws {RangeError} When not a whole number that a double holds exactly */
export function int64(name: string, value: number | bigint): bigint {
  if (typeof value === "bigint") {
    if (BigInt.asIntN(64, value) === value) return value;
  } else if (Number.isSafeInteger(value)) return BigInt(value);
  throw new RangeError(`${name} is ${value}, expected a whole number within 2^53`);
}

/** For an `int32_t`. @throws {RangeError} When not a whole number within its range */
export function int32(name: string, value: number): number {
  if ((value | 0) === value) return value;
  throw new RangeError(`${name} is ${value}, expected a whole number from ${-INT32_MAX - 1} to ${INT32_MAX}`);
}

/** For a `uint32_t`. @throws {RangeError} When not a whole number within its range */
export function uint32(name: string, value: number): number {
  if (value >>> 0 === value) return value;
  throw new RangeError(`${name} is ${value}, expected a whole number from 0 to ${UINT32_MAX}`);
}

/** For a `float` or `double` that must not be NaN. @throws {RangeError} When it is */
export function floating(name: string, value: number): number {
  if (!Number.isNaN(value)) return value;
  throw new RangeError(`${name} is NaN, expected a number`);
}

/** A 64-bit result as a number. @throws {RangeError} When a double cannot hold it exactly */
export function fromInt64(name: string, value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new RangeError(`${name} is ${value}, more than a double holds exactly`);
}
