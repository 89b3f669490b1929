// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { lora, sparse } from "../../../lib/methods/methods.ts";
import { predictSteps, type StepPrediction } from "../../../lib/predict/cost_model.ts";
import type { LaneRates } from "../../../lib/predict/machine/rates.ts";
import { chosenWay, planAt, planMeasured } from "../../../lib/predict/placement.ts";
import type { PlacementChoice } from "../../../lib/train/placement.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { SMALL_SPARSE, smallModel, smallOptions } from "../train/small_run.ts";

/** A host that is slow beside its copies. */
const RATES: LaneRates = {
  downBytesPerSecond: 1e12,
  upBytesPerSecond: 1e12,
  modelFlopsPerSecond: 1e13,
  scoreFlopsPerSecond: 1e10,
  pairFlopsPerSecond: 1e9,
  hostBytesPerSecond: 1e12,
  meetingSeconds: 1e-6,
};

Deno.test("planAt() predicts every way, and takes the quickest that is left open", async () => {
  using model = smallModel();
  const at = (options: RunOptions = {}) => planAt(model, smallOptions(options), RATES);
  const { run: { rows }, placements } = await at();
  assert.equal(placements.length, 4);
  assert.deepEqual([rows.placement, rows.halves], [placements[0]?.placement, placements[0]?.halves]);
  assert.equal(rows.placement, "device");
  const forced = await at({ placement: "host", halves: 1 });
  assert.deepEqual([forced.run.rows.placement, forced.run.rows.halves, forced.placements.length], [
    "host",
    1,
    4,
  ]);
  const method = sparse({ ...SMALL_SPARSE, scope: "union" });
  const union = await at({ method });
  assert.deepEqual([union.run.rows.halves, union.placements.length], [1, 2], "parts would see other unions");
  assert.equal((await at({ halves: 2 })).run.rows.halves, 2);
  assert.deepEqual((await at({ method: lora({ rank: 2 }) })).placements, []);
});

Deno.test("chosenWay() takes what the device has room for, unless it was asked for", () => {
  const way = (placement: "host" | "device", halves: 1 | 2, deviceBytes: number): StepPrediction => ({
    ...{ placement, halves, deviceBytes, stepMs: 1, bound: "model", downBytes: 0, upBytes: 0 },
    busyMs: { model: 1, down: 0, host: 0, up: 0 },
  });
  const ways = [way("device", 2, 300), way("device", 1, 200), way("host", 2, 100)];
  const chosen = (choice: PlacementChoice, freeBytes?: number) => {
    const { placement, halves } = chosenWay(ways, choice, freeBytes);
    return `${placement} ${halves}`;
  };
  assert.equal(chosen({}), "device 2");
  assert.equal(chosen({}, 300), "device 2");
  assert.equal(chosen({}, 299), "device 1");
  assert.equal(chosen({}, 100), "host 2");
  assert.equal(chosen({}, 99), "device 2", "there is room for none");
  assert.equal(chosen({ placement: "device" }, 250), "device 1");
  assert.equal(chosen({ placement: "device" }, 100), "device 2");
  assert.equal(chosen({ placement: "host" }), "host 2");
  assert.equal(chosen({ halves: 1 }), "device 1");
});

Deno.test("planMeasured() measures nothing where model and rows share one memory", async () => {
  using model = smallModel();
  const { run, placements } = await planMeasured(model, smallOptions());
  assert.deepEqual([run.rows.placement, placements], ["host", []]);
});

Deno.test("planAt() predicts the run that it plans, in the types of its kernels", async () => {
  using model = smallModel();
  const batch = { size: 5, micro: 2, seqLen: 12 };
  const of = async (options: RunOptions, kernels: Partial<typeof model.kernels> = {}) => {
    const own = { ...model, kernels: { ...model.kernels, ...kernels } };
    const all = smallOptions({ batch, ...options });
    const { placements } = await planAt(own, all, RATES);
    assert.deepEqual(placements, await predictSteps(plan(own, all), RATES));
    const way = (placement: string) =>
      placements.find((one) => one.placement === placement && one.halves === 1)!;
    return { host: way("host"), device: way("device") };
  };
  const [hidden, layers, tokens] = [24, 2, 5 * 12];
  const usual = await of({});
  assert.equal(usual.host.upBytes, 8 * 2 * layers * tokens * hidden);
  const again = await of({ activations: "recompute" });
  assert.ok(again.host.busyMs.model > usual.host.busyMs.model);
  assert.equal(again.host.upBytes, usual.host.upBytes);
  const native = await of({}, { float: "f32", activationDType: "bf16", compute: "bf16" });
  assert.equal(native.host.upBytes, usual.host.upBytes / 2, "f32 travels");
  const rows = (native.device.upBytes / layers - 4 * 12 * hidden) / (2 * 2 * hidden);
  assert.ok(rows > 45 && rows <= 48, `${rows} rows travel as bf16, all of them once, and the router as f32`);
  const few = await of({ cachedRows: 6 });
  assert.ok(few.device.upBytes > usual.device.upBytes, "rows that make room for others come again");
  assert.ok(few.device.deviceBytes < usual.device.deviceBytes);
});
