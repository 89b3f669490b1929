// SPDX-License-Identifier: Apache-2.0
/** The most memory that this process has held. */

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
