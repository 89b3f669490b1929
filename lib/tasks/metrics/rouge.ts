// SPDX-License-Identifier: Apache-2.0
/**
 * ROUGE (Lin, 2004) as rouge-score computes it without stemming: F1 of words, of pairs of them, and of their longest common
 * subsequence.
 */
import { countsOf, sumClipped } from "./ngrams.ts";

/** Of words, in [0, 1]; of several references the best counts. */
export function rouge1(hypothesis: string, references: readonly string[]): number {
  return bestOf(hypothesis, references, (own, reference) => ngramF1(own, reference, 1));
}

/** Of pairs of words. */
export function rouge2(hypothesis: string, references: readonly string[]): number {
  return bestOf(hypothesis, references, (own, reference) => ngramF1(own, reference, 2));
}

/** Of the longest common subsequence. */
export function rougeL(hypothesis: string, references: readonly string[]): number {
  return bestOf(
    hypothesis,
    references,
    (own, reference) => f1(commonLength(own, reference), own.length, reference.length),
  );
}

function bestOf(
  hypothesis: string,
  references: readonly string[],
  score: (own: readonly string[], reference: readonly string[]) => number,
): number {
  const own = words(hypothesis);
  return references.reduce((best, reference) => Math.max(best, score(own, words(reference))), 0);
}

function ngramF1(own: readonly string[], reference: readonly string[], n: number): number {
  const common = sumClipped(countsOf(own, n), [countsOf(reference, n)]);
  return f1(common, own.length - n + 1, reference.length - n + 1);
}

/** Lower case letters of a to z and digits; all else parts words. */
function words(text: string): string[] {
  return text.toLowerCase().split(/[^a-z0-9]+/).filter((word) => word !== "");
}

/** @param own How many there are of what may be common     @param reference The same of the reference */
function f1(common: number, own: number, reference: number): number {
  if (common === 0) return 0;
  const [precision, recall] = [common / own, common / reference];
  return 2 * precision * recall / (precision + recall);
}

/** Length of the longest common subsequence. */
function commonLength(a: readonly string[], b: readonly string[]): number {
  let before = new Int32Array(b.length + 1);
  for (const word of a) {
    const row = new Int32Array(b.length + 1);
    b.forEach((other, j) => {
      row[j + 1] = word === other
        ? (before[j] as number) + 1
        : Math.max(row[j] as number, before[j + 1] as number);
    });
    before = row;
  }
  return before[b.length] as number;
}
