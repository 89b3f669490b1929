// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { assertWithin } from "../../compare.ts";
import {
  constant,
  cosine,
  linear,
  scheduleFactor,
  scheduleProblems,
  warmupSteps,
} from "../../../lib/optim/schedule.ts";

const factors = (schedule: Parameters<typeof scheduleFactor>[0], total: number): number[] =>
  Array.from({ length: total }, (_, i) => scheduleFactor(schedule, i + 1, total));

Deno.test("scheduleFactor() linear rises over the warm-up and then falls by equal steps to just above 0", () => {
  assertWithin("factors", factors(linear({ warmupSteps: 2 }), 6), [0.5, 1, 0.8, 0.6, 0.4, 0.2], 1e-15);
});

Deno.test("scheduleFactor() starts at the peak without a warm-up, and at any length no step is spent at rate 0", () => {
  assertWithin("factors", factors(linear({}), 4), [1, 0.75, 0.5, 0.25], 1e-15);
  for (const schedule of [linear(), cosine(), constant(), linear({ warmupRatio: 1 }), cosine({})]) {
    for (const total of [1, 2, 3, 50, 51, 101]) {
      const all = factors(schedule, total);
      assert.ok(
        all.every((factor) => factor > 0 && factor <= 1),
        `${schedule.kind} over ${total} steps: ${all}`,
      );
      assert.ok(all.includes(1), `${schedule.kind} over ${total} steps reaches its peak: ${all}`);
    }
  }
});

Deno.test("scheduleFactor() cosine passes one half midway, constant stays at 1", () => {
  assertWithin("cosine", factors(cosine({ warmupSteps: 1 }), 5), [
    1,
    (1 + Math.cos(Math.PI / 5)) / 2,
    (1 + Math.cos(2 * Math.PI / 5)) / 2,
    (1 + Math.cos(3 * Math.PI / 5)) / 2,
    (1 + Math.cos(4 * Math.PI / 5)) / 2,
  ], 1e-15);
  assert.deepEqual(factors(constant({ warmupSteps: 2 }), 4), [0.5, 1, 1, 1]);
  // All that a warm-up of the whole run leaves is the rise.
  for (
    const schedule of [linear({ warmupSteps: 4 }), cosine({ warmupSteps: 4 }), constant({ warmupRatio: 1 })]
  ) {
    assert.deepEqual(factors(schedule, 4), [0.25, 0.5, 0.75, 1]);
  }
  // A run that goes on past its steps stays at its last rates: none rises again.
  for (const schedule of [linear({}), cosine({})]) {
    assert.ok(Math.abs(scheduleFactor(schedule, 11, 10)) < 1e-15);
    assert.ok(Math.abs(scheduleFactor(schedule, 15, 10)) < 1e-15);
  }
  assert.equal(scheduleFactor(linear({ warmupSteps: 20 }), 15, 10), 0.75);
});

Deno.test("warmupSteps() rounds a ratio up, and a number of steps wins", () => {
  for (const schedule of [linear(), cosine(), constant()]) assert.equal(warmupSteps(schedule, 300), 6);
  for (const schedule of [linear, cosine, constant]) {
    assert.deepEqual(schedule({ warmupSteps: 5 }), { kind: schedule.name, warmupSteps: 5 });
  }
  assert.equal(warmupSteps(linear(), 301), 7);
  assert.equal(warmupSteps({ kind: "linear" }, 301), 0);
  assert.equal(warmupSteps({ kind: "linear", warmupRatio: 0.5, warmupSteps: 3 }, 100), 3);
});

Deno.test("scheduleProblems() names what is wrong with each field", () => {
  assert.deepEqual(scheduleProblems({ kind: "cosine", warmupSteps: 0 }), []);
  for (const warmupRatio of [0, 1]) assert.deepEqual(scheduleProblems({ kind: "linear", warmupRatio }), []);
  for (
    const warmup of [{ warmupRatio: 1.01 }, { warmupRatio: NaN }, { warmupSteps: -1 }, {
      warmupSteps: 2 ** 53,
    }]
  ) {
    assert.equal(scheduleProblems({ kind: "constant", ...warmup }).length, 1);
  }
  assert.deepEqual(scheduleProblems({ kind: "step" as "linear", warmupRatio: -1, warmupSteps: 1.5 }), [
    'schedule is "step", expected linear, cosine, constant',
    "warmupRatio is -1, expected a number from 0 to 1",
    "warmupSteps is 1.5, expected a whole number of at least 0",
  ]);
});
