// SPDX-License-Identifier: Apache-2.0
/** ROUGE-L (Lin, 2004) as rouge-score computes it without stemming: F1 of the longest common subsequence of words. */

/** In [0, 1]; of several references the best counts. */
export function rougeL(hypothesis: string, references: readonly string[]): number {
  const own = words(hypothesis);
  return references.reduce((best, reference) => Math.max(best, f1(own, words(reference))), 0);
}

/** Lower case letters of a to z and digits; all else parts words. */
function words(text: string): string[] {
  return text.toLowerCase().split(/[^a-z0-9]+/).filter((word) => word !== "");
}

function f1(own: readonly string[], reference: readonly string[]): number {
  if (own.length === 0 || reference.length === 0) return 0;
  const common = commonLength(own, reference);
  const [precision, recall] = [common / own.length, common / reference.length];
  return precision + recall === 0 ? 0 : 2 * precision * recall / (precision + recall);
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
