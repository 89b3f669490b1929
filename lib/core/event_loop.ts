// SPDX-License-Identifier: Apache-2.0
/** Turns of the event loop, for long work made of blocking native calls. */

/** Nobody who presses Ctrl-C minds so long. */
const LONGEST_MS = 200;

/** When events were last heard: of the process, as its event loop is one. */
let heardMs = performance.now();

/** Lets signals, timers and a notebook's messages be heard before the work goes on. */
export function yieldToEvents(): Promise<void> {
  return new Promise((resolve) =>
    setTimeout(() => {
      heardMs = performance.now();
      resolve();
    }, 0)
  );
}

/** The same between two pieces of work, when they have not been heard for a fifth of a second; else null. */
export function yieldWhenDue(): Promise<void> | null {
  return performance.now() - heardMs > LONGEST_MS ? yieldToEvents() : null;
}
