// SPDX-License-Identifier: Apache-2.0
/** How sure a score of many rows is, whatever it is: the spread of it over rows drawn anew (the percentile bootstrap). */
import { nextIntegerBelow, randomStream } from "../core/rng.ts";
import type { Estimate } from "./metrics.ts";

/** Enough for two digits of an interval's ends. */
const DRAWS = 1000;
const FEWEST = 100;
/** Numbers that all draws go through at most: some tenths of a second. */
const MOST_NUMBERS = 2e7;

/**
 * A score with its 95 % interval; the same for the same rows. Draws for which the score is not defined say nothing.
 *
 * @param width Numbers of a row
 * @param score Given places of rows, each of all at first
 */
export function drawnEstimate(count: number, width: number, score: (rows: Int32Array) => number): Estimate {
  const mean = score(Int32Array.from({ length: count }, (_, row) => row));
  const random = randomStream(0, 0);
  const draws = Math.max(FEWEST, Math.min(DRAWS, Math.floor(MOST_NUMBERS / Math.max(1, count * width))));
  const scores = Array.from(
    { length: count === 0 ? 0 : draws },
    () => score(Int32Array.from({ length: count }, () => nextIntegerBelow(random, count))),
  ).filter(Number.isFinite).sort((a, b) => a - b);
  const at = (share: number): number => scores[Math.round(share * (scores.length - 1))] ?? mean;
  return { mean, low: at(0.025), high: at(0.975), count };
}
