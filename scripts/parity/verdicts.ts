// SPDX-License-Identifier: Apache-2.0
/** How two sides' numbers are compared, and within which bounds. */
import { trainingSteps } from "../../lib/internals/mod.ts";
import type * as meft from "../../mod.ts";

/** One row of the table. */
export interface Verdict {
  readonly what: string;
  readonly steps: number;
  /** Of losses: largest relative difference. Of logits: largest difference over the largest logit. */
  readonly largestDifference: number;
  readonly bound: number;
  readonly agrees: boolean;
}

/**
 * Largest relative difference of a loss. Both sides compute in f32 with sums in another order, so that losses differ by a
 * few eps (1.2e-7) from the first step on; AdamW's early steps, gradients divided by themselves, pass such differences on.
 * 50 steps were measured at 2e-7 to 5e-7. Another equation shows: a weight decay of 0.01 alone moves 20 steps by 5e-5.
 */
export const LOSS_BOUND = 1e-5;

/** Largest difference of a logit, over the largest logit: some eps for each of the sums a logit goes through. */
export const LOGITS_BOUND = 1e-5;

/** Whether a difference is within its bound; NaN is not. */
export function verdict(what: string, steps: number, largestDifference: number, bound: number): Verdict {
  return { what, steps, largestDifference, bound, agrees: largestDifference <= bound };
}

/** The first batch of the data, in a fixed order. */
export function firstBatch(data: meft.Dataset): meft.Batch {
  const step = trainingSteps(data, { batchSize: 8, rows: "padding", shuffleSeed: 1 }).next().value;
  return (step.microBatches[0] as (typeof step.microBatches)[number]).batch;
}

/** Largest difference over the largest logit; NaN when one is missing or no number. */
export function differenceOverLargest(here: ArrayLike<number>, there: ArrayLike<number>): number {
  if (here.length !== there.length) return NaN;
  let [most, largest] = [0, 0];
  for (let i = 0; i < here.length; i++) {
    const difference = Math.abs((here[i] as number) - (there[i] as number));
    if (!(difference <= most)) most = difference;
    largest = Math.max(largest, Math.abs(there[i] as number));
  }
  return most / largest;
}
