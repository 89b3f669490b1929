// SPDX-License-Identifier: Apache-2.0
/** What routing decided. */
import type { SparseRouting } from "./kernels/rows.ts";

/** Experts that at least one token goes to, increasing. */
export function routedExperts({ expertTokens }: SparseRouting): Int32Array {
  const experts: number[] = [];
  expertTokens.forEach((tokens, expert) => {
    if (tokens > 0) experts.push(expert);
  });
  return Int32Array.from(experts);
}
