// SPDX-License-Identifier: Apache-2.0
/** chrF (Popovic, 2015) as sacreBLEU computes it by default: character n-grams up to 6 without white space, recall twice as heavy. */
import { splitWords } from "../../core/python_spaces.ts";
import type { CorpusScore } from "./corpus.ts";
import { countsOf, sumClipped, sumCounts } from "./ngrams.ts";

const ORDERS = 6;
const BETA_SQUARED = 4;

/** By row: matches, n-grams of the hypothesis and of the reference that it comes nearest to, of each order. */
export const chrf: CorpusScore = {
  statistics(hypothesis, references) {
    const own = characters(hypothesis);
    const all = references.map((reference) => statistics(own, characters(reference)));
    return all.reduce((best, other) => scoreOf(other) > scoreOf(best) ? other : best);
  },
  score: scoreOf,
};

function characters(text: string): string[] {
  return [...splitWords(text).join("")];
}

function statistics(own: readonly string[], reference: readonly string[]): Float64Array {
  const orders = Array.from({ length: ORDERS }, (_, i) => {
    const [mine, theirs] = [countsOf(own, i + 1), countsOf(reference, i + 1)];
    // A reference shorter than an n-gram says nothing of it.
    return [sumClipped(mine, [theirs]), theirs.size === 0 ? 0 : sumCounts(mine), sumCounts(theirs)];
  });
  return Float64Array.from(orders.flat());
}

/** F score of the mean precision and recall over the orders that both have. */
function scoreOf(sums: Float64Array): number {
  let [precision, recall, orders] = [0, 0, 0];
  for (let n = 0; n < ORDERS; n++) {
    const [matched = 0, hypothesis = 0, reference = 0] = sums.subarray(3 * n, 3 * n + 3);
    if (hypothesis === 0 || reference === 0) continue;
    precision += matched / hypothesis;
    recall += matched / reference;
    orders++;
  }
  if (orders === 0) return 0;
  const [meanPrecision, meanRecall] = [precision / orders, recall / orders];
  if (meanPrecision + meanRecall === 0) return 0;
  return 100 * (1 + BETA_SQUARED) * meanPrecision * meanRecall / (BETA_SQUARED * meanPrecision + meanRecall);
}
