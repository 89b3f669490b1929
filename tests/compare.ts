// SPDX-License-Identifier: Apache-2.0
/** Comparisons per element, written so that NaN fails, with index, both values and bound in the message. */
import assert from "node:assert/strict";
import { inspect } from "node:util";

/** Spacing of f32 at 1. */
export const EPS_F32 = 2 ** -23;

/**
 * Checks |actual - expected| <= bound, element by element.
 *
 * @param bound One number for all, or one an element: a list, or a function of its place
 */
export function assertWithin(
  name: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: number | ArrayLike<number> | ((i: number) => number),
): void {
  assert.equal(actual.length, expected.length, `${name}: number of elements`);
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i] as number, expected[i] as number];
    const limit = boundAt(bound, i);
    if (Object.is(a, e) || Math.abs(a - e) <= limit) continue;
    assert.fail(`${name}[${i}] is ${a}, expected ${e} within ${limit} (off by ${Math.abs(a - e)})`);
  }
}

function boundAt(bound: number | ArrayLike<number> | ((i: number) => number), i: number): number {
  if (typeof bound === "number") return bound;
  return typeof bound === "function" ? bound(i) : bound[i] as number;
}

/** Checks that two arrays hold the same bits (0 is not -0, and of typed arrays of one kind each NaN has its own). */
export function assertSameBits(
  name: string,
  actual: ArrayLike<number | bigint>,
  expected: ArrayLike<number | bigint>,
): void {
  assert.equal(actual.length, expected.length, `${name}: number of elements`);
  const [a, e] = [rawBits(actual), rawBits(expected)];
  const raw = a !== undefined && e !== undefined && a.width === e.width;
  for (let i = 0; i < expected.length; i++) {
    const [x, y] = [actual[i], expected[i]];
    if (!Object.is(x, y)) assert.fail(`${name}[${i}] is ${inspect(x)}, expected exactly ${inspect(y)}`);
    if (!raw || x === y) continue; // else NaN
    const [bits, wanted] = [a.of(i), e.of(i)];
    if (bits !== wanted) assert.fail(`${name}[${i}] is NaN of bits ${bits}, expected NaN of bits ${wanted}`);
  }
}

/** How the bits of one element of a float array are told, in hexadecimal. */
function rawBits(array: unknown): { readonly width: number; of(i: number): string } | undefined {
  if (!(array instanceof Float32Array || array instanceof Float64Array)) return undefined;
  const { BYTES_PER_ELEMENT: width, buffer, byteOffset, byteLength } = array;
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  return { width, of: (i) => bytes.slice(i * width, (i + 1) * width).toReversed().toHex() };
}

/**
 * `assert.deepEqual()` for values with typed arrays or long lists in them, in time linear in their size: what the
 * other makes of their difference takes the square of it, and a failure looks like a hang.
 *
 * @param name What the message calls the value; the place of the difference follows
 */
export function assertSame(actual: unknown, expected: unknown, name = "value"): void {
  if (Object.is(actual, expected)) return;
  if (kindOf(actual) !== kindOf(expected)) {
    assert.fail(`${name} is ${shown(actual)}, expected ${shown(expected)}`);
  }
  if (ArrayBuffer.isView(expected)) {
    assertSameBits(name, actual as Uint8Array, expected as Uint8Array);
  } else if (expected instanceof ArrayBuffer) {
    assertSameBits(name, new Uint8Array(actual as ArrayBuffer), new Uint8Array(expected));
  } else if (Array.isArray(expected)) {
    assert.equal((actual as unknown[]).length, expected.length, `${name}: number of elements`);
    expected.forEach((value, i) => assertSame((actual as unknown[])[i], value, `${name}[${i}]`));
  } else if (expected instanceof Map) {
    assertSameEntries(name, actual as Map<unknown, unknown>, expected);
  } else if (kindOf(expected) === Object.prototype || kindOf(expected) === null) {
    const entries = (value: unknown) => new Map<unknown, unknown>(Object.entries(value as object));
    assertSameEntries(name, entries(actual), entries(expected));
  } else {
    assert.deepEqual(actual, expected, `${name} is ${shown(actual)}, expected ${shown(expected)}`);
  }
}

/** Keys may come in any order. */
function assertSameEntries(
  name: string,
  actual: ReadonlyMap<unknown, unknown>,
  expected: ReadonlyMap<unknown, unknown>,
): void {
  for (const key of actual.keys()) {
    assert.ok(expected.has(key), `${name} has ${shown(key)}, which is not expected`);
  }
  for (const [key, value] of expected) {
    assert.ok(actual.has(key), `${name} has no ${shown(key)}`);
    assertSame(actual.get(key), value, `${name}.${typeof key === "object" ? shown(key) : String(key)}`);
  }
}

/** Prototype of an object, type of anything else. */
function kindOf(value: unknown): unknown {
  return typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : typeof value;
}

function shown(value: unknown): string {
  return inspect(value, { depth: 1, maxArrayLength: 10, maxStringLength: 200, breakLength: Infinity });
}

/**
 * Checks gradients against central differences of a scalar function: each input element is moved by `step` both ways.
 * The bound is relative to the largest difference quotient of the input, or 1 if that is more: truncation and rounding
 * of central differences in f64 at step 1e-5 are each about 1e-10.
 *
 * @param loss The function, reading `inputs` as they are at the call
 * @param gradients For each input, its analytic gradient
 */
export function assertMatchesDifferences(
  loss: () => number,
  inputs: Readonly<Record<string, Float64Array>>,
  gradients: Readonly<Record<string, ArrayLike<number>>>,
  options: { readonly step?: number; readonly tolerance?: number } = {},
): void {
  const step = options.step ?? 1e-5;
  for (const [name, input] of Object.entries(inputs)) {
    const quotients = Float64Array.from(input, (value, i) => {
      input[i] = value + step;
      const above = loss();
      input[i] = value - step;
      const below = loss();
      input[i] = value;
      return (above - below) / (2 * step);
    });
    const scale = quotients.reduce((largest, q) => Math.max(largest, Math.abs(q)), 1);
    const gradient = gradients[name];
    assert.ok(gradient, `a gradient for ${name}`);
    assertWithin(`d${name}`, gradient, quotients, (options.tolerance ?? 1e-8) * scale);
  }
}

/** Largest magnitude; 0 of nothing. */
export function largest(values: ArrayLike<number>): number {
  return Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/** Sum of a[i] * b[i]: a scalar whose gradient with respect to a is b. */
export function weightedSum(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
