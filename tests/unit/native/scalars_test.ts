// SPDX-License-Identifier: Apache-2.0
/** Numbers across the boundary: what C gets is the number that was meant, or an error that names it. */
import assert from "node:assert/strict";
import { floating, fromInt64, int32, int64, uint32 } from "../../../lib/native/scalars.ts";

const refusal = (name: string, value: string) => ({
  name: "RangeError",
  message: new RegExp(`^${name} is ${value}, `),
});

Deno.test("int64() takes every whole number that a double or 64 bits hold exactly, and refuses the next", () => {
  for (const value of [0, -1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, -(2 ** 53) + 1]) {
    assert.equal(int64("n", value), BigInt(value));
  }
  for (const value of [0n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)]) {
    assert.equal(int64("n", value), value);
  }
  for (const value of [2 ** 53, -(2 ** 53), 1.5, NaN, Infinity]) {
    assert.throws(() => int64("count", value), refusal("count", String(value)));
  }
  for (const value of [2n ** 63n, -(2n ** 63n) - 1n, 2n ** 64n]) {
    assert.throws(() => int64("count", value), refusal("count", String(value)));
  }
});

Deno.test("int32() and uint32() take their whole range, and refuse what C would wrap or cut", () => {
  for (const value of [0, -1, 2 ** 31 - 1, -(2 ** 31)]) assert.equal(int32("n", value), value);
  for (const value of [2 ** 31, -(2 ** 31) - 1, 2 ** 32, 0.5, NaN]) {
    assert.throws(() => int32("mode", value), refusal("mode", String(value)));
  }
  for (const value of [0, 2 ** 31, 2 ** 32 - 1]) assert.equal(uint32("n", value), value);
  for (const value of [2 ** 32, -1, 0.5, NaN]) {
    assert.throws(() => uint32("seed", value), refusal("seed", String(value)));
  }
});

Deno.test("what is refused is told with the range that is meant", () => {
  assert.throws(() => int32("mode", 1.5), {
    message: "mode is 1.5, expected a whole number from -2147483648 to 2147483647",
  });
  assert.throws(() => uint32("seed", -1), {
    message: "seed is -1, expected a whole number from 0 to 4294967295",
  });
  assert.throws(() => int64("count", 2 ** 53), {
    message: "count is 9007199254740992, expected a whole number within 2^53",
  });
});

Deno.test("floating() takes every number but NaN", () => {
  for (const value of [0, -0, Infinity, -Infinity, 5e-324]) assert.ok(Object.is(floating("x", value), value));
  assert.throws(() => floating("eps", NaN), refusal("eps", "NaN"));
});

Deno.test("fromInt64() gives results that a double holds exactly, and refuses others", () => {
  for (const value of [0n, -5n, 2n ** 53n - 1n, -(2n ** 53n) + 1n]) {
    assert.equal(fromInt64("bytes", value), Number(value));
  }
  for (const value of [2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 53n)]) {
    assert.throws(() => fromInt64("bytes", value), refusal("bytes", String(value)));
  }
});
