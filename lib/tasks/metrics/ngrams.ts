// SPDX-License-Identifier: Apache-2.0
/** Counts of n-grams, and how many of one text are in others. */

/** How often each n-gram is there. */
export type NgramCounts = ReadonlyMap<string, number>;

/** N-grams of words, or of characters, by how often they are there. */
export function countsOf(items: readonly string[], n: number): NgramCounts {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= items.length; i++) {
    const gram = items.slice(i, i + n).join("\u0000");
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/** How many of these are in the references, each at most as often as in the one that has it most. */
export function sumClipped(own: NgramCounts, references: readonly NgramCounts[]): number {
  let sum = 0;
  for (const [gram, count] of own) {
    sum += Math.min(count, references.reduce((most, counts) => Math.max(most, counts.get(gram) ?? 0), 0));
  }
  return sum;
}

/** All of them. */
export function sumCounts(counts: NgramCounts): number {
  let sum = 0;
  for (const count of counts.values()) sum += count;
  return sum;
}
