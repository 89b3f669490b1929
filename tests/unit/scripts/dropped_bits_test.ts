// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { entropy, widthOf } from "../../../scripts/study/reversible/dropped_bits.ts";

test("entropy() is 0 of one value, log2 n of n alike, and counts nothing that never came", () => {
  assert.equal(entropy([5]), 0);
  assert.equal(entropy([3, 3, 0, 3, 3]), 2);
  assert.ok(Math.abs(entropy([1, 3]) - (2 - 0.75 * Math.log2(3))) < 1e-12);
});

test("widthOf() sees what the bits above tell of the lowest, and blocks as wide as their largest value", () => {
  const even = Int32Array.from({ length: 1024 }, (_, i) => i % 16);
  assert.deepEqual(widthOf(even, 2), { alone: 2, given: 2, blocks: 2 + 4 / 512 });
  // The two lowest bits are those above them, also of negative numbers; the second block holds none above 1.
  const told = Int32Array.from({ length: 1024 }, (_, i) => i < 512 ? (i % 4) * 5 - 16 : 0);
  const { alone, given, blocks } = widthOf(told, 2);
  assert.ok(alone > 1.5 && Math.abs(given) < 1e-12);
  assert.equal(blocks, (4 + 512 * 2 + 4) / 1024);
});
