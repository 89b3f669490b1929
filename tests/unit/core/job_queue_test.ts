// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { createJobQueue } from "../../../lib/core/job_queue.ts";

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

Deno.test("createJobQueue() runs a job inside the caller when nothing is under way", () => {
  const queue = createJobQueue();
  assert.equal(queue.run(() => 7), 7);
  assert.throws(() =>
    queue.run(() => {
      throw new Error("no");
    }), /no/);
  assert.equal(queue.pending, 0);
  assert.equal(queue.run(() => 8), 8);
});

Deno.test("jobs run one after the other in the order given, however long each takes, and failures are their callers'", async () => {
  const queue = createJobQueue();
  const log: number[] = [];
  let underWay = 0;
  const jobs = [9, 0, 4, 1, 7].map((ms, i) =>
    queue.run(async () => {
      assert.equal(++underWay, 1);
      await later(ms);
      underWay--;
      log.push(i);
      if (i === 2) throw new Error("job 2");
      return i;
    })
  );
  const results = await Promise.allSettled(jobs);
  assert.deepEqual(log, [0, 1, 2, 3, 4]);
  assert.deepEqual(results.map(({ status }) => status === "fulfilled"), [true, true, false, true, true]);
  assert.equal(queue.pending, 0);
});

Deno.test("runLater() lets every other waiting job go first", async () => {
  const queue = createJobQueue();
  const log: string[] = [];
  const job = (name: string) => async () => {
    await later(1);
    log.push(name);
  };
  await Promise.all([
    queue.run(job("a")),
    queue.runLater(job("update 1")),
    queue.runLater(job("update 2")),
    queue.run(job("b")),
    queue.run(job("c")),
  ]);
  assert.deepEqual(log, ["a", "b", "c", "update 1", "update 2"]);
});
