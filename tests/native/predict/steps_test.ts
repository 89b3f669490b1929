// SPDX-License-Identifier: Apache-2.0
/** What is predicted of steps each way, beside what real steps on a device then say of themselves. */
import assert from "node:assert/strict";
import { sparse } from "../../../lib/methods/methods.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { predictSteps } from "../../../lib/predict/cost_model.ts";
import type { LaneRates } from "../../../lib/predict/machine/rates.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { randomTokens } from "../../fixtures/memory_cases.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { smallOptions } from "../../unit/train/small_run.ts";

const { backend } = openTestDevice();
const [SEQ_LEN, ROWS, STEPS] = [12, 5, 2];

const RATES: LaneRates = {
  downBytesPerSecond: 1e9,
  upBytesPerSecond: 1e9,
  modelFlopsPerSecond: 1e12,
  scoreFlopsPerSecond: 1e10,
  pairFlopsPerSecond: 1e9,
  hostBytesPerSecond: 1e10,
  meetingSeconds: 1e-6,
};

/** Bytes of each step that a run really takes, and of the step that is predicted. */
async function bytesOf(name: string, options: RunOptions) {
  using k = cudaKernels({ compute: "bf16", host: { threads: 1 } });
  using model = openCheckpoint(modelFixture(name).dir, k);
  const batch = { size: ROWS, micro: 2, seqLen: SEQ_LEN };
  const method = sparse({ neurons: 96, experts: 12, activeExperts: 3, topK: 6 });
  const run = plan(model, smallOptions({ method, batch, steps: STEPS, ...options }));
  const { placement, halves } = run.rows;
  const predicted = (await predictSteps(run, RATES)).find((way) =>
    way.placement === placement && way.halves === halves
  );
  assert.ok(predicted);
  const data = randomTokens(Array(STEPS * ROWS).fill(SEQ_LEN), model.config.vocabSize, SEQ_LEN);
  const training = train(run, data);
  const taken: { down: number; up: number }[] = [];
  for await (const { lanes } of training) taken.push({ down: lanes.downBytes, up: lanes.upBytes });
  training.adapter?.release();
  return { taken, predicted: { down: predicted.downBytes, up: predicted.upBytes } };
}

for (const name of ["llama3_tied", "qwen3_tied"]) {
  for (const halves of [1, 2] as const) {
    for (const activations of ["store", "recompute"] as const) {
      const way = { halves, activations };
      Deno.test(`activations that travel on ${backend} are predicted to the byte: ${name}, ${JSON.stringify(way)}`, async () => {
        const { taken, predicted } = await bytesOf(name, { ...way, placement: "host" });
        for (const step of taken) assert.deepEqual(step, predicted);
      });
    }
    for (const cachedRows of [null, 40]) {
      Deno.test(`rows that travel on ${backend} are predicted where nearly all of them fire: ${name}, ${halves} parts, room ${cachedRows}`, async () => {
        const method = sparse({ neurons: 96, experts: 1, activeExperts: 1, topK: 96, gate: "none" });
        const way = { method, halves, cachedRows, placement: "device" } as const;
        const { taken, predicted } = await bytesOf(name, way);
        for (const { up, down } of taken) {
          // A few score above 0 for no token, more of them for half of the tokens; of a token's scores half do, so that fewer gradients of scores come down.
          const [share, pairs] = [up / predicted.up, 8 * 96 * ROWS * SEQ_LEN];
          assert.ok(share > 0.6 && share <= 1, `${up}, predicted ${predicted.up}`);
          assert.ok(
            down <= predicted.down && down > 0.6 * predicted.down - pairs,
            `${down}, predicted ${predicted.down}`,
          );
        }
      });
    }
    Deno.test(`rows that travel on ${backend} are about as many as predicted: ${name}, ${halves} parts`, async () => {
      const { taken, predicted } = await bytesOf(name, { halves, placement: "device" });
      for (const way of ["down", "up"] as const) {
        for (const step of taken) {
          const share = step[way] / predicted[way];
          // Fewer fire than may: those of scores above 0, and some oftener than others.
          assert.ok(share > 0.6 && share < 1.1, `${way}: ${step[way]}, predicted ${predicted[way]}`);
        }
      }
    });
  }
}

for (const name of ["olmo2", "phi3", "smollm3"]) {
  Deno.test(`activations of ${name} that travel on ${backend} are predicted to the byte`, async () => {
    const { taken, predicted } = await bytesOf(name, { halves: 2, placement: "host" });
    for (const step of taken) assert.deepEqual(step, predicted);
  });
}
