// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { busiest } from "../../../lib/train/lane_account.ts";
import { unitedNeurons } from "../../../lib/ops/sparse.ts";
import { choosePlacement, predictSteps, type StepSizes } from "../../../lib/predict/cost_model.ts";
import type { LaneRates } from "../../../lib/predict/machine/rates.ts";

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

/** A layer and rates that are done by hand: a micro-batch of four tokens, two of them a step. */
const HAND: StepSizes = {
  tokens: 4,
  sequenceTokens: 4,
  micros: 2,
  layers: 1,
  hidden: 8,
  feedForward: 16,
  queryColumns: 8,
  keyColumns: 4,
  recompute: false,
  neurons: 16,
  experts: 4,
  activeExperts: 2,
  topK: 2,
  activationBytes: 4,
  rowBytes: 2,
  gradientBytes: 4,
  cachedRows: 0,
  activeRows: 10,
};
const HAND_RATES: LaneRates = {
  downBytesPerSecond: 100,
  upBytesPerSecond: 200,
  modelFlopsPerSecond: 1000,
  scoreFlopsPerSecond: 400,
  pairFlopsPerSecond: 80,
  hostBytesPerSecond: 500,
  meetingSeconds: 0.125,
};

/** Seconds of one pass by lane, and how a pass of one layer is put together. */
interface HandPass {
  readonly attention: number;
  readonly feedForward: number;
  readonly recompute: number;
  readonly down: number;
  readonly host: number;
  readonly up: number;
}
const answer = ({ down, host, up }: HandPass) => down + 0.125 + host + 0.125 + up;
const forwardSeconds = (pass: HandPass) =>
  Math.max(pass.attention + pass.feedForward, pass.attention + answer(pass));
const backwardSeconds = (pass: HandPass) =>
  pass.recompute + Math.max(pass.feedForward, answer(pass)) + pass.attention;

for (const recompute of [false, true]) {
  for (const [placement, cachedRows] of [["host", 0], ["device", 0], ["device", 10]] as const) {
    Deno.test(`predictSteps() by hand: ${placement}, ${cachedRows} rows cached, recompute ${recompute}`, () => {
      // Products of q, k, v and o, and of attention itself; of gate, up and down.
      const [projections, inner, feedForward] = [
        4 * 4 * 8 * 12 / 1000,
        2 * 4 * 4 * 8 / 1000,
        6 * 4 * 8 * 16 / 1000,
      ];
      const model = { attention: projections + inner, feedForward, recompute: 0 };
      const back = {
        attention: projections + 2.5 * inner,
        feedForward,
        recompute: recompute ? projections + inner + 4 * 4 * 8 * 16 / 1000 : 0,
      };
      const [scores, pairs] = [2 * 4 * 8 * (4 + 2 * 4) / 400, 2 * 4 * 2 * 8 / 80];
      const activation = 4 * 8 * 4;
      const travelling = cachedRows === 0 ? 10 : 5; // once for both micro-batches
      const rows = 2 * 8 * 2 * travelling;
      const gradients = 2 * 8 * 4 * travelling;
      const [upForward, upBackward] = [rows + 4 * 2 * 8, cachedRows === 0 ? rows : 0];
      const dense = 2 * 4 * 10 * 8 / 1000;
      const traffic = (bytes: number) => 2 * bytes / 500;
      const onHost = placement === "host";
      const forward: HandPass = onHost
        ? { ...model, down: activation / 100, host: scores + pairs, up: activation / 200 }
        : {
          ...{ ...model, attention: model.attention + dense },
          ...{ down: activation / 100, host: scores + traffic(upForward), up: upForward / 200 },
        };
      const backward: HandPass = onHost
        ? { ...back, down: activation / 100, host: 4 * pairs, up: activation / 200 }
        : {
          ...{ ...back, feedForward: back.feedForward + 4 * dense },
          ...{ down: gradients / 100, host: traffic(gradients) + traffic(upBackward), up: upBackward / 200 },
        };
      const found = of({ ...HAND, recompute, cachedRows }, placement, 1, HAND_RATES);
      const near = (name: string, actual: number, seconds: number) =>
        assert.ok(
          Math.abs(actual - 2000 * seconds) <= 1e-9 * actual,
          `${name}: ${actual}, by hand ${2000 * seconds}`,
        );
      near("step", found.stepMs, forwardSeconds(forward) + backwardSeconds(backward));
      const both = (lane: (pass: HandPass) => number) => lane(forward) + lane(backward);
      near("model", found.busyMs.model, both((pass) => pass.attention + pass.feedForward + pass.recompute));
      near("down", found.busyMs.down, both(({ down }) => down));
      near("host", found.busyMs.host, both(({ host }) => host));
      near("up", found.busyMs.up, both(({ up }) => up));
      assert.equal(found.downBytes, 2 * (onHost ? 2 * activation : activation + gradients));
      assert.equal(found.upBytes, 2 * (onHost ? 2 * activation : upForward + upBackward));
    });
  }
}

Deno.test("busiest() names one lane of several that work as long: the model's first, copies last", () => {
  assert.equal(busiest({ model: 1, down: 1, host: 1, up: 1 }), "model");
  assert.equal(busiest({ model: 0, down: 1, host: 1, up: 1 }), "host");
  assert.equal(busiest({ model: 0, down: 2, host: 1, up: 1 }), "down");
});
