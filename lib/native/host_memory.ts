// SPDX-License-Identifier: Apache-2.0
/** Memory of this process and of the machine, as the system counts it. */
import process from "node:process";

/** Bytes of a line of `/proc/self/status`; null where the system has none. */
function statusBytes(field: "VmHWM" | "VmRSS"): number | null {
  try {
    const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(Deno.readTextFileSync("/proc/self/status"));
    return line?.[1] === undefined ? null : Number(line[1]) * 1024;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return null;
    throw error;
  }
}

/** Bytes resident now: private memory and the touched pages of mapped files. */
export function residentBytes(): number {
  return statusBytes("VmRSS") ?? Deno.memoryUsage().rss;
}

/** Bytes resident at most since the process began; what is resident now where the system does not tell. */
export function peakHostBytes(): number {
  return statusBytes("VmHWM") ?? Deno.memoryUsage().rss;
}

/** Bytes that can still be had, swap included: of the machine, or of the share that a container gives. */
export function availableHostBytes(): number {
  const machine = process.availableMemory() + Deno.systemMemoryInfo().swapFree;
  return Math.min(machine, process.constrainedMemory() - Deno.memoryUsage().rss);
}
