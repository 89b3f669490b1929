// SPDX-License-Identifier: Apache-2.0
/** Work that takes turns, comes at once or later, and leaves the event loop its turn. */
import assert from "node:assert/strict";
import { andThen } from "../../../lib/core/awaitable.ts";
import { takeTurns, type YieldTurn } from "../../../lib/core/baton.ts";
import { yieldToEvents } from "../../../lib/core/event_loop.ts";
import { createJobQueue } from "../../../lib/core/job_queue.ts";

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

Deno.test("andThen() goes on at once with what is there, and later with what comes", async () => {
  assert.equal(andThen(3, (x) => x + 1), 4);
  const coming = andThen(Promise.resolve(3), (x) => x + 1);
  assert.ok(coming instanceof Promise);
  assert.equal(await coming, 4);
});

Deno.test("takeTurns() runs two chains piece by piece in one order, whatever anything takes", async () => {
  for (const [slow, fast] of [[3, 0], [0, 3]] as const) {
    const log: string[] = [];
    const chain = (name: string, pieces: number, ms: number) => async (yieldTurn: YieldTurn) => {
      for (let i = 0; i < pieces; i++) {
        await later(ms);
        log.push(`${name}${i}`);
        if (i + 1 < pieces) await yieldTurn();
      }
      return name;
    };
    assert.deepEqual(await takeTurns(chain("a", 4, slow), chain("b", 2, fast)), ["a", "b"]);
    assert.deepEqual(log, ["a0", "b0", "a1", "b1", "a2", "a3"]);
    log.length = 0;
    await takeTurns(chain("a", 1, slow), chain("b", 3, fast));
    assert.deepEqual(log, ["a0", "b0", "b1", "b2"]);
  }
});

Deno.test("takeTurns() ends both chains when one fails, with what failed first", async () => {
  for (const failing of ["a", "b"]) {
    const log: string[] = [];
    const chain = (name: string) => async (yieldTurn: YieldTurn) => {
      try {
        for (let i = 0; i < 3; i++) {
          log.push(`${name}${i}`);
          if (name === failing && i === 1) throw new Error(`${name} fell over`);
          await yieldTurn();
        }
      } finally {
        log.push(`${name} ended`);
      }
    };
    await assert.rejects(takeTurns(chain("a"), chain("b")), { message: `${failing} fell over` });
    assert.deepEqual(log.filter((text) => text.endsWith("ended")).sort(), ["a ended", "b ended"]);
    assert.ok(!log.includes("a2") && !log.includes("b2"), `${log}`);
  }
  const both = takeTurns(async (yieldTurn) => {
    await yieldTurn().catch(() => {});
    throw new Error("in its wake");
  }, () => Promise.reject(new Error("first")));
  await assert.rejects(both);
});

Deno.test("yieldToEvents() comes after timers that are due", async () => {
  const log: string[] = [];
  setTimeout(() => log.push("timer"), 0);
  await yieldToEvents();
  assert.deepEqual(log, ["timer"]);
});

Deno.test("a queue counts what is under way and what waits, and lets the caller of a job go on before the next", async () => {
  const queue = createJobQueue();
  const log: string[] = [];
  const first = queue.run(async () => {
    await later(1);
    return "first";
  }) as Promise<string>;
  const second = queue.run(() => {
    log.push("second");
    return later(1);
  });
  const third = queue.run(() => void log.push("third"));
  assert.equal(queue.pending, 3);
  assert.ok(third instanceof Promise, "it waits, though it is done at once");
  log.push(await first);
  assert.equal(queue.pending, 2);
  await second;
  await third;
  assert.deepEqual(log, ["first", "second", "third"]);
  assert.equal(queue.pending, 0);
  await assert.rejects(Promise.resolve(queue.run(() => Promise.reject(new Error("no")))), /no/);
  assert.equal(await queue.run(() => Promise.resolve(5)), 5);
});
