// SPDX-License-Identifier: Apache-2.0
/** The account of real steps on a device in virtual time: each lane's work as the device knows it, and work and waiting make the step. */
import assert from "node:assert/strict";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { hostTotal } from "../../../lib/ops/host_times.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { laneAccount } from "../../../lib/train/lane_account.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { simulatedDevice } from "../../fixtures/simulated_device.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";

/** Which lane is the busiest, and what each costs for a token of a layer. */
const CASES = [
  ["model", { attention: 3, feedForward: 6, copy: 1, host: 2 }],
  ["host", { attention: 1, feedForward: 2, copy: 1, host: 9 }],
  ["down", { attention: 1, feedForward: 2, copy: 7, host: 2 }],
] as const;

function assertNear(name: string, actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= 0.02 * expected, `${name} is ${actual}, expected ${expected}`);
}

for (const [bound, costs] of CASES) {
  for (const halves of [1, 2] as const) {
    Deno.test(`a step bound by the lane ${bound} accounts for its time, in ${halves} halves`, async () => {
      const device = simulatedDevice(referenceKernels(), { ...costs, hidden: 24 });
      using model = smallModel(device.kernels);
      const run = plan(model, smallOptions({ halves }));
      let state = init(run);
      const clock = (): number => Math.max(...Object.values(device.clocks));
      for (const data of trainingSteps(smallData(), batchOptions(run)).take(2)) {
        const [before, start] = [{ ...device.busy }, clock()];
        const [next, { lanes, tokens, tokensPerSecond }] = await trainStep(run, state, data, clock);
        state = next;
        const stepMs = 1000 * tokens / tokensPerSecond;
        assertNear("step", stepMs, clock() - start);
        assertNear("model", lanes.modelMs, device.busy.model - before.model);
        assertNear("host", hostTotal(lanes.hostMs), device.busy.host - before.host);
        assertNear("down", lanes.downMs, device.busy.down - before.down);
        assertNear("up", lanes.upMs, device.busy.up - before.up);
        assertNear("model and its waits", lanes.modelMs + lanes.modelWaitMs, stepMs);
        assertNear("host and its waits", hostTotal(lanes.hostMs) + lanes.hostWaitMs, stepMs);
        assertNear("down and its waits", lanes.downMs + lanes.downWaitMs, stepMs);
        assertNear("up and its waits", lanes.upMs + lanes.upWaitMs, stepMs);
        assert.ok(lanes.bound === bound || (bound === "down" && lanes.bound === "up"));
      }
    });
  }
}

Deno.test("laneAccount() tells what came since the step began, and whose time is whose with and without a second lane", () => {
  const host = { routing: 1, catchUp: 2, scoring: 3, values: 4, backward: 5, update: 6 };
  const later = { routing: 2, catchUp: 4, scoring: 6, values: 8, backward: 10, update: 16 };
  const rows = { hits: 10, misses: 20, evictions: 30, upBytes: 0, downBytes: 0 };
  const before = { hostTimes: host, downBytes: 100, upBytes: 200, rows };
  const after = {
    ...{ hostTimes: later, downBytes: 107, upBytes: 209 },
    rows: { hits: 11, misses: 22, evictions: 33, upBytes: 0, downBytes: 0 },
  };
  const of = (inlineMs: number, waitMs: number) =>
    laneAccount(before, after, { stepMs: 100, times: { inlineMs, waitMs }, onDevice: null });
  const one = of(30, 0);
  assert.deepEqual(one, {
    modelMs: 60, // all but the adapter's work and the update
    modelWaitMs: 0,
    downMs: 0,
    downWaitMs: 0,
    upMs: 0,
    upWaitMs: 0,
    hostMs: { routing: 1, catchUp: 2, scoring: 3, values: 4, backward: 5, update: 10 },
    hostWaitMs: 0,
    downBytes: 7,
    upBytes: 9,
    rows: { hits: 1, misses: 2, evictions: 3 },
    bound: "model",
  });
  const two = of(0, 20);
  assert.deepEqual([two.modelMs, two.modelWaitMs, two.hostWaitMs], [80, 20, 75]);
  const onDevice = { modelMs: 40, modelWaitMs: 50, downMs: 12, upMs: 90 };
  const device = laneAccount(before, after, { stepMs: 100, times: { inlineMs: 0, waitMs: 20 }, onDevice });
  assert.deepEqual(
    [device.modelMs, device.modelWaitMs, device.downWaitMs, device.upWaitMs, device.hostWaitMs, device.bound],
    [40, 50, 88, 10, 75, "up"],
  );
});
