// SPDX-License-Identifier: Apache-2.0
/** Metrics against worked examples and the formulas they implement. */
import assert from "node:assert/strict";
import { exactMatch, f1, meanScore, normalizeAnswer, proportion } from "../../../lib/evaluate/metrics.ts";

Deno.test("normalizeAnswer() follows the SQuAD script", () => {
  assert.equal(normalizeAnswer("  The Quick,  brown-fox!\n"), "quick brownfox");
  assert.equal(normalizeAnswer("a an the"), "");
  assert.equal(normalizeAnswer("Theatre and another"), "theatre and another");
  assert.equal(normalizeAnswer("l'an 2000"), "lan 2000", "punctuation goes before articles");
  assert.equal(normalizeAnswer("één a café"), "één café", "letters beyond ASCII are letters");
  assert.equal(normalizeAnswer("…"), "…", "only ASCII punctuation goes");
  assert.equal(normalizeAnswer("…the…"), "… …", "an article leaves a space");
  assert.equal(normalizeAnswer(""), "");
});

Deno.test("exactMatch() takes the best of several answers", () => {
  assert.equal(exactMatch("the 14 December 1972.", ["December 1972", "14 December, 1972"]), 1);
  assert.equal(exactMatch("1972", ["December 1972", "14 December 1972"]), 0);
  assert.equal(exactMatch("", ["Paris"]), 0);
  assert.equal(exactMatch("The!", ["a"]), 1, "nothing left equals nothing left");
});

Deno.test("f1() is the best overlap of words, counted as often as they occur in both", () => {
  assert.equal(f1("Bobby Scott", ["Bobby Scott", "Bob Russell"]), 1);
  assert.equal(f1("Bobby Scott wrote it", ["Bobby Scott"]), 2 * 2 / (4 + 2));
  assert.equal(f1("x x x", ["x x"]), 2 * 2 / (3 + 2));
  assert.equal(f1("Paris", ["London", "Paris France"]), 2 / 3);
  assert.equal(f1("Paris", ["London"]), 0);
  assert.equal(f1("", ["London"]), 0);
  assert.equal(f1("the", ["a"]), 1);
});

function assertClose(actual: number, expected: number): void {
  assert(Math.abs(actual - expected) <= 1e-12, `${actual} is not ${expected}`);
}

Deno.test("proportion() solves Wilson's equation |p - q| = z sqrt(q(1-q)/n) at both ends", () => {
  for (const [successes, count] of [[0, 1], [1, 1], [3, 7], [50, 100], [0, 500], [499, 500]] as const) {
    const { mean, low, high } = proportion(successes, count);
    assert.equal(mean, successes / count);
    for (const q of [low, high]) {
      const residual = (mean - q) ** 2 - 1.959963984540054 ** 2 * q * (1 - q) / count;
      assert(Math.abs(residual) <= 1e-15, `${residual}`);
    }
    assert(low <= mean && mean <= high && low >= 0 && high <= 1);
  }
  const none = proportion(0, 0);
  assert(Number.isNaN(none.mean) && none.low === 0 && none.high === 1);
});

Deno.test("meanScore() is mean and normal interval, the whole range below two rows", () => {
  const { mean, low, high, count } = meanScore([0.2, 0.4, 0.6, 0.8]);
  const half = 1.959963984540054 * Math.sqrt((0.09 + 0.01 + 0.01 + 0.09) / 3 / 4);
  assertClose(mean, 0.5);
  assertClose(low, 0.5 - half);
  assertClose(high, 0.5 + half);
  assert.equal(count, 4);
  const [top, bottom] = [meanScore([1, 1, 0.4]), meanScore([0, 0, 0.6])];
  assert.deepEqual([top.high, bottom.low], [1, 0], "within the scores that there are");
  assert(top.low > 0 && bottom.high < 1);
  assert.deepEqual(meanScore([0.3]), { mean: 0.3, low: 0, high: 1, count: 1 });
  assert(Number.isNaN(meanScore([]).mean));
});
