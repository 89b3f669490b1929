// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";
import { bitsAt, tableLine } from "../../../scripts/study/reversible/lambda.ts";

test("bitsAt() goes to its value a bit after the other, stays there, and stands where nothing is said", () => {
  const falling = { bits: 3, from: 12, steps: 4 };
  assert.deepEqual([1, 2, 3, 4, 5, Infinity].map((step) => bitsAt(falling, step)), [10, 8, 5, 3, 3, 3]);
  assert.deepEqual([1, 9, Infinity].map((step) => bitsAt({ bits: 7 }, step)), [7, 7, 7]);
});

test("tableLine() takes differences seed by seed, and leaves empty what is no number", () => {
  const of = (losses: readonly number[]) => losses.map((loss) => ({ loss, accuracy: NaN, known: 2 * loss }));
  // Half of an interval of two values a, b: 12.7062 |a - b| / 2.
  assert.equal(
    tableLine({ bits: 5, from: 12, steps: 6 }, of([1, 1.5]), of([0.5, 1])),
    "5,12,6,2,1.2500,3.1766,,,2.5000,6.3531,0.5000,0.0000",
  );
  assert.equal(tableLine({ bits: 7 }, of([1]), of([1])), "7,7,0,1,1.0000,,,,2.0000,,0.0000,");
});
