// SPDX-License-Identifier: Apache-2.0
/** Host memory: the most that this process has held, and whether a run fits. */
import process from "node:process";
import { formatBytes } from "../report/format.ts";
import type { MemoryPrediction } from "../train/memory.ts";

/** Bytes resident at most, as the kernel counts them; what is resident now where it does not tell. */
export function peakHostBytes(): number {
  try {
    const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/status"))?.[1];
    if (kibibytes !== undefined) return Number(kibibytes) * 1024;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable)) throw error;
  }
  return Deno.memoryUsage().rss;
}

/** Bytes that can still be had, swap included: of the machine, or of the share that a container gives. */
function availableHostBytes(): number {
  const machine = process.availableMemory() + Deno.systemMemoryInfo().swapFree;
  return Math.min(machine, process.constrainedMemory() - Deno.memoryUsage().rss);
}

/**
 * Why a run does not fit into this machine's memory, or null when it does. Weights are mapped and come and go, gradients
 * are foretold at their most, so only parameters and optimizer state count: what every run ends up holding.
 */
export function memoryProblem(
  { bytes: { parameters = 0, optimizer = 0 } }: MemoryPrediction,
  availableBytes = availableHostBytes(),
): string | null {
  const needed = parameters + optimizer;
  if (needed <= availableBytes) return null;
  return `The run needs ${
    formatBytes(needed)
  } of host memory for its parameters and their optimizer state, ` +
    `but ${
      formatBytes(availableBytes)
    } are free: train fewer neurons or by another method, or free some memory`;
}
