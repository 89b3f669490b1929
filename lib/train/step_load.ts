// SPDX-License-Identifier: Apache-2.0
/** How much one optimizer step works on. */

/** What a step works on, all micro-batches together. */
export interface StepLoad {
  readonly tokens: number;
  readonly targets: number;
  /** Pairs of a query and a key it sees: the sum over sequences of n (n + 1) / 2. */
  readonly pairs: number;
}

/** Full rows of one length. */
export function fullLoad(rows: number, seqLen: number): StepLoad {
  return { tokens: rows * seqLen, targets: rows * (seqLen - 1), pairs: rows * seqLen * (seqLen + 1) / 2 };
}
