// SPDX-License-Identifier: Apache-2.0
/** 16-bit floats: every bit pattern there and back, and rounding at the ties. */
import assert from "node:assert/strict";
import { bf16ToFloat, f16ToFloat, floatToBf16, floatToF16 } from "../../../lib/core/half.ts";

Deno.test("bf16ToFloat() and floatToBf16() return every bit pattern, NaN staying NaN", () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = bf16ToFloat(bits);
    if (Number.isNaN(value)) assert.ok(Number.isNaN(bf16ToFloat(floatToBf16(value))));
    else assert.equal(floatToBf16(value), bits);
  }
});

Deno.test("f16ToFloat() and floatToF16() return every bit pattern, NaN staying NaN", () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = f16ToFloat(bits);
    if (Number.isNaN(value)) assert.ok(Number.isNaN(f16ToFloat(floatToF16(value))));
    else assert.equal(floatToF16(value), bits);
  }
});

Deno.test("floatToBf16() rounds to nearest, ties to even", () => {
  assert.equal(bf16ToFloat(floatToBf16(1 + 2 ** -8)), 1);
  assert.equal(bf16ToFloat(floatToBf16(1 + 3 * 2 ** -8)), 1 + 2 ** -6);
  assert.equal(bf16ToFloat(floatToBf16(1 + 2 ** -8 + 2 ** -20)), 1 + 2 ** -7);
  assert.equal(bf16ToFloat(floatToBf16(3.4e38)), Infinity);
});

Deno.test("floatToF16() rounds to nearest, ties to even, and overflows to infinity", () => {
  assert.equal(f16ToFloat(floatToF16(1 + 2 ** -11)), 1);
  assert.equal(f16ToFloat(floatToF16(1 + 3 * 2 ** -11)), 1 + 2 ** -9);
  assert.equal(f16ToFloat(floatToF16(2 - 2 ** -12)), 2);
  assert.equal(f16ToFloat(floatToF16(2 ** -25)), 0);
  assert.equal(f16ToFloat(floatToF16(2 ** -25 * 1.01)), 2 ** -24);
  assert.equal(f16ToFloat(floatToF16(65519)), 65504);
  assert.equal(f16ToFloat(floatToF16(-65520)), -Infinity);
  assert.ok(Object.is(f16ToFloat(floatToF16(-0)), -0));
});
