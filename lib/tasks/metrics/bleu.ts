// SPDX-License-Identifier: Apache-2.0
/** BLEU (Papineni et al., 2002) as sacreBLEU computes it by default: tokenised as mteval-v13a does, smoothed exponentially. */
import { splitWords } from "../../core/python_spaces.ts";
import type { CorpusScore } from "./corpus.ts";
import { countsOf, sumClipped } from "./ngrams.ts";

const ORDERS = 4;

/** By row: matches of each order, n-grams of each order, length, and that of the nearest reference. */
export const bleu: CorpusScore = {
  statistics(hypothesis, references) {
    const own = tokenize13a(hypothesis);
    const others = references.map(tokenize13a);
    const found = new Float64Array(2 * ORDERS + 2);
    for (let n = 1; n <= ORDERS; n++) {
      found[n - 1] = sumClipped(countsOf(own, n), others.map((tokens) => countsOf(tokens, n)));
      found[ORDERS + n - 1] = Math.max(0, own.length - n + 1);
    }
    found.set([own.length, closestLength(own.length, others.map((tokens) => tokens.length))], 2 * ORDERS);
    return found;
  },
  score(sums) {
    const [length = 0, closest = 0] = sums.subarray(2 * ORDERS);
    return 100 * brevity(length, closest) *
      meanPrecision(sums.subarray(0, ORDERS), sums.subarray(ORDERS, 2 * ORDERS));
  },
};

/** Geometric mean of the precisions; an order without a match has half of what the one before had for none. */
function meanPrecision(matched: Float64Array, total: Float64Array): number {
  if (matched.every((count) => count === 0)) return 0;
  let [logSum, smoothing] = [0, 1];
  for (let n = 0; n < ORDERS; n++) {
    const [hits, all] = [matched[n] as number, total[n] as number];
    if (all === 0) return 0;
    if (hits === 0) smoothing *= 2;
    logSum += Math.log(hits === 0 ? 1 / (smoothing * all) : hits / all);
  }
  return Math.exp(logSum / ORDERS);
}

/** What is said in too few words. */
function brevity(length: number, reference: number): number {
  if (length >= reference) return 1;
  return length === 0 ? 0 : Math.exp(1 - reference / length);
}

/** The reference length nearest to that of the hypothesis; of two as near the shorter. */
function closestLength(length: number, references: readonly number[]): number {
  return references.reduce((best, other) => {
    const [near, nearest] = [Math.abs(other - length), Math.abs(best - length)];
    return near < nearest || (near === nearest && other < best) ? other : best;
  });
}

/** Tokens of mteval-v13a: entities read, punctuation apart but within numbers. */
function tokenize13a(line: string): string[] {
  let text = line.trimEnd().replaceAll("<skipped>", "").replaceAll("-\n", "").replaceAll("\n", " ");
  if (text.includes("&")) {
    text = text.replaceAll("&quot;", '"').replaceAll("&amp;", "&").replaceAll("&lt;", "<").replaceAll(
      "&gt;",
      ">",
    );
  }
  const apart = ` ${text} `
    .replace(/([{-~[-` -&(-+:-@/])/g, " $1 ")
    .replace(/([^0-9])([.,])/g, "$1 $2 ")
    .replace(/([.,])([^0-9])/g, " $1 $2")
    .replace(/([0-9])(-)/g, "$1 $2 ");
  return splitWords(apart);
}
