// SPDX-License-Identifier: Apache-2.0
/** Contexts that check their scratch memory. */

/**
 * Calls `open`. Every context made meanwhile fills its scratch with NaN before use and fails a call that wrote past the
 * end of a piece of it. An emulated device always does.
 */
export function withCheckedWorkspace<Made>(open: () => Made): Made {
  Deno.env.set("MEFT_CHECK_WORKSPACE", "1");
  try {
    return open();
  } finally {
    Deno.env.delete("MEFT_CHECK_WORKSPACE");
  }
}
