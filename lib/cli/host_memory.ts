// SPDX-License-Identifier: Apache-2.0
/** What memory problems and predictions read like on a terminal. */
import type { MemoryPrediction } from "../predict/memory.ts";
import { availableHostBytes } from "../native/host_memory.ts";
import type { Fit } from "../predict/fit.ts";
import { formatBytes, formatShare } from "../report/format.ts";

/** Flags as they are typed. */
export function formatFlags(flags: Readonly<Record<string, string | number>>): string {
  return Object.entries(flags).map(([name, value]) => `--${name} ${value}`).join(" ");
}

/** Whether a run fits into this machine's memory, and what would, as sentences. */
export function describeFit({ fits, neededBytes, availableBytes, weightsStay, advice }: Fit): string {
  const sizes = `the run needs ${formatBytes(neededBytes)} of host memory besides the mapped weights, ` +
    `${formatBytes(availableBytes)} are free`;
  if (fits && weightsStay) return `It fits: ${sizes}.`;
  if (fits) {
    return `It fits, but the weights do not stay in memory with it, so that every step reads some of them from the ` +
      `disk again: ${sizes}.`;
  }
  const way = advice === null
    ? "train by another method, or free some memory"
    : `with ${formatFlags(advice.flags)} it would need ${formatBytes(advice.neededBytes)}`;
  return `Not on this machine: ${sizes}: ${way}.`;
}

/**
 * Why a run does not fit, or null when it does: for runs whose data is not yet read, so only parameters and optimizer
 * state count, which every run ends up holding.
 */
export function memoryProblem(
  { bytes: { parameters = 0, optimizer = 0 } }: MemoryPrediction,
  availableBytes: number = availableHostBytes(),
): string | null {
  const needed = parameters + optimizer;
  if (needed <= availableBytes) return null;
  return `The run needs ${
    formatBytes(needed)
  } of host memory for its parameters and their optimizer state, but ${
    formatBytes(availableBytes)
  } are free: train fewer neurons or by another method, or free some memory`;
}

/** A prediction beside what came: `151.1 MiB; 160.2 MiB predicted, 6.0 % more`. */
export function beside(measured: number, predicted: number): string {
  const difference = predicted === measured ? 0 : predicted / measured - 1; // both may be nothing
  const way = difference < 0 ? "less" : "more";
  return `${formatBytes(measured)}; ${formatBytes(predicted)} predicted, ${
    formatShare(Math.abs(difference))
  } ${way}`;
}
