// SPDX-License-Identifier: Apache-2.0
/** The order in which real passes give work to a device, in virtual time: nothing races, and waiting is what the schedule says. */
import assert from "node:assert/strict";
import { sparseAdapter } from "../../../../lib/adapters/sparse/sparse.ts";
import { type Batch, tokenTargets } from "../../../../lib/data/batch.ts";
import { lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { interleavedLossAndGradients, splitBatch } from "../../../../lib/models/engine/interleave.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { trainableModel } from "../../../fixtures/trainable_model.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { backwardTime, forwardTime } from "../../../fixtures/lane_schedule.ts";
import { assertWithin } from "../../../compare.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { simulatedDevice } from "../../../fixtures/simulated_device.ts";
import { wholeGradients } from "../../train/gradients.ts";

const LAYERS = 16;
const TOKENS = 4;

/** Sequences of equal length. */
function batchOf(sequences: number): Batch {
  const length = TOKENS / sequences;
  return {
    ids: Int32Array.from({ length: TOKENS }, (_, t) => t + 3),
    positions: Int32Array.from({ length: TOKENS }, (_, t) => t % length),
    starts: Int32Array.from({ length: sequences + 1 }, (_, s) => s * length),
    targets: tokenTargets(Int32Array.from({ length: TOKENS }, (_, t) => t + 4)),
    targetCount: TOKENS,
  };
}

/** A small model with its layers repeated. */
function deepModel(model: Model): Model {
  const repeat = <T>(list: readonly T[]): T[] =>
    Array.from({ length: LAYERS }, (_, layer) => list[layer % list.length] as T);
  const [stack] = model.parts.stacks;
  return {
    ...model,
    config: { ...model.config, numHiddenLayers: LAYERS },
    parts: { ...model.parts, stacks: [{ ...stack, layers: repeat(stack.layers) }] },
  };
}

/** One pass there and back; @returns the time of the last work, in layers' times of the model's lane. */
async function passTime(copy: number, host: number, halves: 1 | 2, sequences = 2) {
  const share = (cost: number): number => cost / TOKENS;
  const device = simulatedDevice(referenceKernels(), {
    attention: share(0.34),
    feedForward: share(0.66),
    copy: share(copy),
    host: share(host),
    hidden: 24,
  });
  using base = openCheckpoint(modelFixture("llama_dynamic").dir, device.kernels);
  // A trained embedding carries gradients through every layer.
  using trained = trainableModel(base, (name) => name.includes("embed_tokens"));
  const model = deepModel(trained);
  const params = sparseAdapter({ neurons: 8, experts: 2, activeExperts: 1, topK: 2 }, model.config).adapter
    .create(device.kernels, model, TOKENS);
  params.init(device.kernels, 3);
  const batch = batchOf(sequences);
  const options = { activations: "store", lossScale: 1 } as const;
  const split = splitBatch(batch);
  assert.ok(split);
  const attach = (k: typeof device.kernels) => ({ model, hooks: params.attach(k).hooks });
  const { lossSum } = halves === 2
    ? await interleavedLossAndGradients(model, batch, split, attach, options)
    : await lossAndGradients(model, batch, attach(device.kernels).hooks, options);
  const { link } = device.kernels;
  const bytes = [link, device.kernels.twin().link].reduce(
    (sum, one) => sum + one.bytes.down + one.bytes.up,
    0,
  );
  return {
    time: Math.max(...Object.values(device.clocks)),
    slots: device.slots,
    bytes,
    lossSum,
    gradients: wholeGradients(params.parameters),
    activationBytes: TOKENS * model.config.hiddenSize * 8,
  };
}

for (const [copy, whole, halves] of [[0.05, 0.61, 1.05], [0.1, 0.51, 1.05], [0.22, 0.28, 1.04]] as const) {
  Deno.test(`passes with copies of ${copy} of a layer's time wait as the schedule says`, async () => {
    for (const count of [1, 2] as const) {
      for (const host of [0, count === 1 ? whole : halves, 1.5]) {
        const layers = Array.from({ length: LAYERS }, () => ({
          attention: 0.34,
          feedForward: 0.66,
          recompute: 0,
          down: copy,
          up: copy,
          host,
          meeting: 0,
        }));
        const expected = forwardTime(layers, count) + backwardTime(layers, count);
        const { time } = await passTime(copy, host, count);
        // The turn from forward to backward is no layer's: allow for one.
        assert.ok(
          Math.abs(time - expected) <= 1,
          `${count} halves, host ${host}: ${time}, expected ${expected}`,
        );
      }
    }
  });
}

Deno.test("a device gives the gradients of host memory, whole or in halves, and counts its bytes", async () => {
  const whole = await passTime(0.1, 1, 1, 1);
  for (const sequences of [1, 2]) {
    const [one, halves] = [await passTime(0.1, 1, 1, sequences), await passTime(0.1, 1, 2, sequences)];
    assert.ok(Math.abs(one.lossSum - halves.lossSum) < 1e-11);
    // h and dy down, y and dh up, in every layer.
    assert.equal(halves.bytes, 4 * LAYERS * whole.activationBytes);
    assert.equal(one.bytes, halves.bytes);
    for (const [name, gradient] of one.gradients) {
      assertWithin(name, halves.gradients.get(name) ?? [], gradient, 1e-10);
    }
  }
  assert.ok([...whole.gradients.values()].some((gradient) => gradient.some((x) => x !== 0)));
});
