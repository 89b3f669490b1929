// SPDX-License-Identifier: Apache-2.0
/** Time that this thread has computed, in ms: what else the machine does is none of a test's business. */

/** Of Linux, nanoseconds; elsewhere the time that passes. */
export function threadTimeMs(): number {
  try {
    const [ns = "0"] = Deno.readTextFileSync("/proc/thread-self/schedstat").split(" ", 1);
    return Number(ns) / 1e6;
  } catch {
    return performance.now();
  }
}
