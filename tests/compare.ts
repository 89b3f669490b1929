// SPDX-License-Identifier: Apache-2.0
/** Comparisons per element, written so that NaN fails, with index, both values and bound in the message. */
import assert from "node:assert/strict";

/** Spacing of f32 at 1. */
export const EPS_F32 = 2 ** -23;

/**
 * Checks |actual - expected| <= bound, element by element.
 *
 * @param bound One number for all, or one an element
 */
export function assertWithin(
  name: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: number | ArrayLike<number>,
): void {
  assert.equal(actual.length, expected.length, `${name}: number of elements`);
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i] as number, expected[i] as number];
    const limit = typeof bound === "number" ? bound : bound[i] as number;
    if (Object.is(a, e) || Math.abs(a - e) <= limit) continue;
    assert.fail(`${name}[${i}] is ${a}, expected ${e} within ${limit} (off by ${Math.abs(a - e)})`);
  }
}

/** Checks that two arrays hold the same bits (NaN equal to NaN, 0 not to -0). */
export function assertSameBits(name: string, actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  assert.equal(actual.length, expected.length, `${name}: number of elements`);
  for (let i = 0; i < expected.length; i++) {
    if (!Object.is(actual[i], expected[i])) {
      assert.fail(`${name}[${i}] is ${actual[i]}, expected exactly ${expected[i]}`);
    }
  }
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

/** Sum of a[i] * b[i]: a scalar whose gradient with respect to a is b. */
export function weightedSum(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
