// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { judgeLogits } from "../../../lib/merge/merge_check.ts";

const f32 = (...numbers: number[]) => Float32Array.from(numbers);
const rule = "a rule";

Deno.test("judgeLogits() holds the largest difference and the root mean square each to its own bound", () => {
  const expected = f32(1, -8, 2, 4);
  const logits = f32(1, -8, 2, 7); // off by 3 in one place, by 1.5 in the mean square
  const agrees = (bound: number, rmsBound: number) =>
    judgeLogits(logits, expected, { bound, rmsBound, rule });
  assert.deepEqual(agrees(3, 1.5), {
    agrees: true,
    bound: 3,
    rmsBound: 1.5,
    rule,
    largestDifference: 3,
    rmsDifference: 1.5,
    largestLogit: 8,
    count: 4,
  });
  assert.equal(agrees(2.999, 100).agrees, false, "one logit is too far off");
  assert.equal(agrees(100, 1.499).agrees, false, "all together are too far off");
  assert.equal(judgeLogits(f32(1, -8, 2, 1), expected, { bound: 2.9, rmsBound: 9, rule }).agrees, false);
});

Deno.test("judgeLogits() takes no NaN, and no other number of logits", () => {
  const bounds = { bound: Infinity, rmsBound: Infinity, rule };
  assert.equal(judgeLogits(f32(1, 2), f32(1, 2), { bound: 0, rmsBound: 0, rule }).agrees, true);
  assert.equal(judgeLogits(f32(1, NaN), f32(1, 2), bounds).agrees, false);
  assert.equal(judgeLogits(f32(1), f32(1, 2), bounds).agrees, false);
  assert.equal(judgeLogits(f32(1, 2, 3), f32(1, 2), bounds).agrees, false);
});
