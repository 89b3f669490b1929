// SPDX-License-Identifier: Apache-2.0
/** Checks of shapes and sizes, each an error that names the tensor and both sizes. */

/** `(2,3,4)`. */
export function formatShape(shape: readonly number[]): string {
  return `(${shape.join(",")})`;
}

/**
 * Checks that `shape` is `expected`, dimension by dimension.
 *
 * @param dimensions Names of the expected dimensions, such as `"T,D"`, for the message
 * @throws {RangeError} When it is not, naming the tensor and both shapes
 */
export function assertShape(
  name: string,
  shape: readonly number[],
  expected: readonly number[],
  dimensions = "",
): void {
  const same = shape.length === expected.length && shape.every((size, i) => size === expected[i]);
  if (same) return;
  const label = dimensions === "" ? "" : `(${dimensions}) = `;
  throw new RangeError(
    `${name} has shape ${formatShape(shape)}, expected ${label}${formatShape(expected)}`,
  );
}

/**
 * Checks that a flat array holds `count` elements.
 *
 * @throws {RangeError} When it does not, naming the array and both sizes
 */
export function assertLength(name: string, array: { readonly length: number }, count: number): void {
  if (array.length !== count) {
    throw new RangeError(`${name} has ${array.length} elements, expected ${count}`);
  }
}

/**
 * Checks that a number is a whole number within [min, max].
 *
 * @throws {RangeError} When it is not, naming it, its value and the range
 */
export function assertInteger(name: string, value: number, min: number, max = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw new RangeError(`${name} is ${value}, expected a whole number ${range}`);
}
