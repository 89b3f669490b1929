// SPDX-License-Identifier: Apache-2.0
/** The account of real steps on a device in virtual time: each lane's work as the device knows it, and work and waiting make the step. */
import assert from "node:assert/strict";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { hostTotal } from "../../../lib/ops/host_times.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
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
