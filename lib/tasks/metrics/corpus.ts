// SPDX-License-Identifier: Apache-2.0
/** Scores of a whole corpus: of sums over its rows, not means of scores of rows. */

/** A score in percent. */
export interface CorpusScore {
  /** What of a row adds up. @param references Those that the hypothesis may match: one or several */
  statistics(hypothesis: string, references: readonly string[]): Float64Array;
  /** @param sums Over all rows */
  score(sums: Float64Array): number;
}

/** The score of a corpus. */
export function corpusScore(
  { statistics, score }: CorpusScore,
  hypotheses: readonly string[],
  references: readonly (readonly string[])[],
): number {
  return score(
    summed(hypotheses.map((hypothesis, i) => statistics(hypothesis, references[i] as readonly string[]))),
  );
}

/** Sums of rows, each as long. */
export function summed(rows: readonly Float64Array[]): Float64Array {
  const sums = new Float64Array(rows[0]?.length ?? 0);
  for (const row of rows) row.forEach((value, i) => sums[i] = (sums[i] as number) + value);
  return sums;
}
