// SPDX-License-Identifier: Apache-2.0
/** Scores of a prediction against accepted answers, and how sure a mean of them is. */

import { PYTHON_SPACES } from "../core/python_spaces.ts";

/** A mean with its 95% confidence interval. */
export interface Estimate {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
  /** Rows it is a mean of. */
  readonly count: number;
}

/** 97.5th percentile of the normal distribution. */
const Z = 1.959963984540054;

/** ASCII punctuation, as Python's `string.punctuation`. */
const PUNCTUATION = /[!-/:-@[-`{-~]/g;

/** English articles as words of their own. */
const ARTICLES = /(?<![\p{L}\p{N}_])(a|an|the)(?![\p{L}\p{N}_])/gu;

/** The normalisation of the SQuAD evaluation script: lower case, no punctuation, no articles, single spaces. */
export function normalizeAnswer(text: string): string {
  const bare = text.toLowerCase().replace(PUNCTUATION, "").replace(ARTICLES, " ");
  return bare.split(PYTHON_SPACES).filter((word) => word !== "").join(" ");
}

/** 1 when the prediction equals one of the answers after {@linkcode normalizeAnswer}, else 0. */
export function exactMatch(prediction: string, answers: readonly string[]): number {
  const normalized = normalizeAnswer(prediction);
  return answers.some((answer) => normalizeAnswer(answer) === normalized) ? 1 : 0;
}

/**
 * Best over the answers of the harmonic mean of precision and recall of words, after {@linkcode normalizeAnswer}.
 * When prediction or answer has no word left, 1 if both have none, else 0 (as in SQuAD 2).
 */
export function f1(prediction: string, answers: readonly string[]): number {
  const words = wordsOf(prediction);
  return answers.reduce((best, answer) => Math.max(best, wordOverlap(words, wordsOf(answer))), 0);
}

function wordsOf(text: string): string[] {
  const normalized = normalizeAnswer(text);
  return normalized === "" ? [] : normalized.split(" ");
}

/** With `same` words in both, counted as often as they occur in both: 2 same / (words there + words here). */
function wordOverlap(prediction: readonly string[], answer: readonly string[]): number {
  if (prediction.length === 0 || answer.length === 0) return prediction.length === answer.length ? 1 : 0;
  const left = new Map<string, number>();
  for (const word of answer) left.set(word, (left.get(word) ?? 0) + 1);
  let same = 0;
  for (const word of prediction) {
    const count = left.get(word) ?? 0;
    if (count === 0) continue;
    same++;
    left.set(word, count - 1);
  }
  return 2 * same / (prediction.length + answer.length);
}

/**
 * Mean of scores of 0 or 1 with Wilson's interval, which stays sensible near 0, near 1 and for few rows.
 *
 * With p = successes / n:  centre = (p + z^2/2n) / (1 + z^2/n),
 * half = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).  Without rows, NaN in [0, 1].
 */
export function proportion(successes: number, count: number): Estimate {
  if (count === 0) return { mean: NaN, low: 0, high: 1, count };
  const p = successes / count;
  const scale = 1 + Z * Z / count;
  const centre = (p + Z * Z / (2 * count)) / scale;
  const half = Z * Math.sqrt(p * (1 - p) / count + Z * Z / (4 * count * count)) / scale;
  // At 0 and at 1 one end is the mean itself, which rounding must not miss.
  return {
    mean: p,
    low: Math.min(p, Math.max(0, centre - half)),
    high: Math.max(p, Math.min(1, centre + half)),
    count,
  };
}

/** Mean of scores anywhere in [0, 1], such as F1, with mean ± z s / sqrt(n), s their sample deviation. */
export function meanScore(scores: readonly number[]): Estimate {
  const count = scores.length;
  const mean = scores.reduce((sum, score) => sum + score, 0) / count;
  if (count < 2) return { mean, low: 0, high: 1, count };
  const variance = scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / (count - 1);
  const half = Z * Math.sqrt(variance / count);
  return { mean, low: Math.max(0, mean - half), high: Math.min(1, mean + half), count };
}
