// SPDX-License-Identifier: Apache-2.0
/** How far a query of attention sees. */
import type { AttentionShape } from "./kernels/model.ts";

/** Further than any sequence is long. */
const NO_LIMIT = 2 ** 31;

/** Keys behind and ahead of its own place that a query sees. */
export function reachOf(
  { sees, window }: Pick<AttentionShape, "sees" | "window">,
): { readonly behind: number; readonly ahead: number } {
  if (sees === "past") return { behind: window > 0 ? window - 1 : NO_LIMIT, ahead: 0 };
  const side = window > 0 ? Math.floor(window / 2) : NO_LIMIT;
  return { behind: side, ahead: side };
}
