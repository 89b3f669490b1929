// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { yieldToEvents, yieldWhenDue } from "../../../lib/core/event_loop.ts";

/** Blocks the thread, as a native call does. */
function work(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

Deno.test("events are heard between two pieces of work once they have waited for long, and not before", async () => {
  let heard = false;
  const timer = setTimeout(() => heard = true, 0);
  work(250);
  const due = yieldWhenDue();
  assert.ok(due !== null);
  await due;
  assert.ok(heard, "a timer that was due has run");
  clearTimeout(timer);
  assert.equal(yieldWhenDue(), null, "they have just been heard");
  work(250);
  await yieldToEvents();
  assert.equal(yieldWhenDue(), null, "however they were heard");
});
