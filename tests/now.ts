// SPDX-License-Identifier: Apache-2.0
/** Results of kernels that answer at once. */
import assert from "node:assert/strict";
import type { Awaitable } from "../lib/core/awaitable.ts";

/** The result, which must be there: kernels of the host never make their callers wait. */
export function now<T>(result: Awaitable<T>): T {
  assert.ok(!(result instanceof Promise), "a result that comes later");
  return result;
}
