// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { lora, sparse } from "../../../lib/methods/methods.ts";
import { predictSteps } from "../../../lib/predict/cost_model.ts";
import type { LaneRates } from "../../../lib/predict/machine/rates.ts";
import { planAt, planMeasured } from "../../../lib/predict/placement.ts";
import type { RunOptions } from "../../../lib/train/plan.ts";
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

Deno.test("planAt() predicts every way, and takes the quickest that is left open", () => {
  using model = smallModel();
  const at = (options: RunOptions = {}) => planAt(model, smallOptions(options), RATES);
  const { run: { rows }, placements } = at();
  assert.equal(placements.length, 4);
  assert.deepEqual([rows.placement, rows.halves], [placements[0]?.placement, placements[0]?.halves]);
  assert.equal(rows.placement, "device");
  const forced = at({ placement: "host", halves: 1 });
  assert.deepEqual([forced.run.rows.placement, forced.run.rows.halves, forced.placements.length], [
    "host",
    1,
    4,
  ]);
  const method = sparse({ ...SMALL_SPARSE, scope: "union" });
  assert.equal(at({ method }).run.rows.halves, 1);
  assert.equal(at({ halves: 2 }).run.rows.halves, 2);
  assert.deepEqual(at({ method: lora({ rank: 2 }) }).placements, []);
});

Deno.test("planMeasured() measures nothing where model and rows share one memory", async () => {
  using model = smallModel();
  const { run, placements } = await planMeasured(model, smallOptions());
  assert.deepEqual([run.rows.placement, placements], ["host", []]);
});

Deno.test("planAt() predicts by the sizes of its model, its adapter and its batch", () => {
  using model = smallModel();
  const sizes = {
    tokens: 2 * 12,
    sequenceTokens: 12,
    micros: 3,
    layers: 2,
    hidden: 24,
    feedForward: 37,
    queryColumns: 40,
    keyColumns: 20,
    recompute: false,
    neurons: 48,
    experts: 12,
    activeExperts: 2,
    topK: 3,
    activationBytes: 8,
    rowBytes: 4,
    gradientBytes: 4,
    cachedRows: 0,
  };
  const batch = { size: 5, micro: 2, seqLen: 12 };
  const of = (options: RunOptions, kernels = model.kernels) =>
    planAt({ ...model, kernels }, smallOptions({ batch, ...options }), RATES).placements;
  assert.deepEqual(of({}), predictSteps(sizes, RATES));
  assert.deepEqual(of({ activations: "recompute" }), predictSteps({ ...sizes, recompute: true }, RATES));
  assert.deepEqual(of({ cachedRows: 30 }), predictSteps({ ...sizes, cachedRows: 30 }, RATES));
  assert.deepEqual(of({ cachedRows: 99 }), predictSteps({ ...sizes, cachedRows: 48 }, RATES));
  const native = { ...model.kernels, float: "f32", compute: "bf16" } as const;
  assert.deepEqual(of({}, native), predictSteps({ ...sizes, activationBytes: 4, rowBytes: 2 }, RATES));
  const single = { ...native, compute: "f32" } as const;
  assert.deepEqual(of({}, single), predictSteps({ ...sizes, activationBytes: 4, rowBytes: 4 }, RATES));
});
