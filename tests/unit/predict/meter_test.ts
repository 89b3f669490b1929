// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { type Meter, perSecond, quickest, timeRounds } from "../../../lib/predict/machine/meter.ts";

/** Rounds of a clock that stands still between them. */
function rounds(lasts: readonly number[]) {
  const state = { now: 0, done: 0 };
  const clock = () => state.now;
  const round = () => {
    state.now += lasts[state.done++] ?? Infinity;
  };
  const meter = (rounds: number, budgetMs: number): Meter => ({ clock, rounds, budgetMs });
  return { state, meter, round };
}

Deno.test("quickest() takes the best of its rounds, and never that which warms up", async () => {
  const one = rounds([1, 7, 5, 6]);
  assert.equal(await quickest(one.meter(3, 0), one.round), 5);
  assert.equal(one.state.done, 4);
});

Deno.test("quickest() goes on until its time is up and its rounds are done, the one that warms up aside", async () => {
  const long = rounds([99, 7, 5, 6, 4]);
  assert.equal(await quickest(long.meter(1, 13), long.round), 5);
  assert.equal(long.state.done, 4);
  const slow = rounds([99, 70, 60]);
  assert.equal(await quickest(slow.meter(2, 30), slow.round), 60);
  assert.equal(slow.state.done, 3);
});

Deno.test("timeRounds() tells every round by every clock, the one that warms up first", async () => {
  const both = [[1, 7], [3, 9], [8, 2]];
  const sums = [0, 0];
  let done = 0;
  const found = await timeRounds(
    { clock: () => 0, rounds: 2, budgetMs: 0 },
    { scores: () => sums[0] as number, backward: () => sums[1] as number },
    async () => {
      await Promise.resolve();
      both[done++]?.forEach((ms, i) => sums[i] = (sums[i] as number) + ms);
    },
  );
  assert.deepEqual(found, { scores: [1, 3, 8], backward: [7, 9, 2] });
});

Deno.test("perSecond() divides by seconds, and by no less than a clock can tell", () => {
  assert.equal(perSecond(6, 3), 2000);
  assert.ok(perSecond(1, 0) < Infinity);
});
