// SPDX-License-Identifier: Apache-2.0
/** Turns of the event loop, for long work made of blocking native calls. */

/** Lets signals, timers and a notebook's messages be heard before the work goes on. */
export function yieldToEvents(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
