// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { unitedNeurons } from "../../../lib/ops/sparse.ts";
import {
  choosePlacement,
  type LaneRates,
  predictSteps,
  type StepSizes,
} from "../../../lib/train/cost_model.ts";

/** A card of the 4090 class, and the host of a measured 16 cores. */
const RATES: LaneRates = {
  downBytesPerSecond: 25e9,
  upBytesPerSecond: 25e9,
  modelFlopsPerSecond: 130e12,
  scoreFlopsPerSecond: 2.2e12,
  pairFlopsPerSecond: 0.22e12,
  hostBytesPerSecond: 200e9,
  meetingSeconds: 15e-6,
};

/** The 7B shape. */
const SIZES: StepSizes = {
  tokens: 1024,
  sequenceTokens: 1024,
  micros: 1,
  layers: 32,
  hidden: 4096,
  feedForward: 11008,
  queryColumns: 4096,
  keyColumns: 4096,
  recompute: false,
  neurons: 4096,
  experts: 256,
  activeExperts: 8,
  topK: 64,
  activationBytes: 2,
  rowBytes: 2,
  gradientBytes: 4,
  cachedRows: 0,
};

const of = (sizes: StepSizes, placement: "host" | "device", halves: 1 | 2, rates = RATES) =>
  choosePlacement(sizes, rates, { placement, halves });

Deno.test("predictSteps() counts the bytes of the formulas: 4 M d an layer for host, rows and gradients for device", () => {
  const activation = 1024 * 4096 * 2;
  const host = of(SIZES, "host", 2);
  assert.equal(host.downBytes, 32 * 2 * activation);
  assert.equal(host.upBytes, 32 * 2 * activation);
  assert.equal(of({ ...SIZES, neurons: 32768, experts: 512 }, "host", 2).upBytes, host.upBytes, "whatever r");
  const active = 1000;
  const device = of({ ...SIZES, activeRows: active }, "device", 1);
  assert.equal(device.upBytes, 32 * (2 * active * 2 * 4096 * 2 + 1024 * 64 * 8), "rows twice, and the pairs");
  assert.equal(device.downBytes, 32 * (activation + active * 2 * 4096 * 4));
});

Deno.test("a cache of all rows that a step touches divides the rows' bytes by the micro-batches", () => {
  const eight = { ...SIZES, micros: 8 };
  const [without, cached] = [of(eight, "device", 2), of({ ...eight, cachedRows: 4096 }, "device", 2)];
  assert.ok(cached.upBytes < without.upBytes / 6 && cached.downBytes < without.downBytes / 3);
  assert.ok(cached.stepMs < without.stepMs);
});

Deno.test("predictions are at least the busiest lane, and two halves of host work never take longer than one", () => {
  for (const neurons of [1024, 4096, 32768]) {
    for (const tokens of [512, 1024, 2048]) {
      const sizes = { ...SIZES, neurons, tokens };
      for (const { stepMs, busyMs, bound } of predictSteps(sizes, RATES)) {
        assert.ok(stepMs >= Math.max(...Object.values(busyMs)) - 1e-9);
        assert.equal(busyMs[bound], Math.max(...Object.values(busyMs)));
      }
      assert.ok(of(sizes, "host", 2).stepMs <= of(sizes, "host", 1).stepMs);
    }
  }
});

Deno.test("host work of 4.3 + 9.8 ms a layer at 1024 tokens, as measured, is what the model computes", () => {
  const { busyMs } = of(SIZES, "host", 2);
  const perLayer = busyMs.host / 32;
  assert.ok(Math.abs(perLayer - 14.1) < 2, `${perLayer} ms`);
});

Deno.test("choosePlacement() takes rows to the device when few fire often, activations to the host when many do", () => {
  // The crossover of these rates lies near ten rows a token: 4 at r = 4096, 28 at r = 32768.
  assert.equal(choosePlacement(SIZES, RATES).placement, "device");
  const wide = { ...SIZES, neurons: 32768, experts: 512 };
  assert.ok(unitedNeurons(wide) / wide.tokens > 20);
  assert.equal(choosePlacement(wide, RATES).placement, "host");
  assert.equal(choosePlacement({ ...wide, micros: 8, cachedRows: 32768 }, RATES).placement, "device");
  assert.equal(choosePlacement(SIZES, RATES, { placement: "host" }).placement, "host");
  assert.equal(choosePlacement(SIZES, RATES, { halves: 1 }).halves, 1);
});

Deno.test("predictSteps() names the bound: slow copies, slow host, slow model", () => {
  const bound = (rates: Partial<LaneRates>, placement: "host" | "device") =>
    of(SIZES, placement, 2, { ...RATES, ...rates }).bound;
  assert.equal(bound({}, "host"), "host");
  assert.equal(bound({ pairFlopsPerSecond: 1e14, scoreFlopsPerSecond: 1e14 }, "host"), "model");
  assert.equal(bound({ upBytesPerSecond: 1e9 }, "device"), "up");
  assert.equal(bound({ downBytesPerSecond: 1e8 }, "device"), "down");
});
