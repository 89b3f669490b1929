// SPDX-License-Identifier: Apache-2.0
/** How many rows tokens reach is said in one way by the adapter, the device's prediction and the cost model. */
import assert from "node:assert/strict";
import { sparse } from "../../../lib/methods/methods.ts";
import { describeModel } from "../../../lib/models/described.ts";
import { unitedNeurons } from "../../../lib/ops/sparse_pairs.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { predictSteps } from "../../../lib/predict/cost_model.ts";
import { predictDevice } from "../../../lib/predict/device_memory.ts";
import { plan } from "../../../lib/train/plan.ts";

const [D, L, TOKENS, NEURONS, EXPERTS, TOP_K] = [256, 2, 1024, 16384, 1024, 64];

const MODEL = describeModel({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: D,
  intermediate_size: 512,
  num_hidden_layers: L,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  vocab_size: 1000,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  hidden_act: "silu",
}, referenceKernels());

/** Rows that tokens reach which choose among the neurons of experts drawn at random: the oracle. */
function drawnRows(activeExperts: number): number {
  let seed = 1;
  const draw = (n: number): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor(n * seed / 2 ** 32);
  };
  const each = NEURONS / EXPERTS;
  const reached = new Set<number>();
  for (let t = 0; t < TOKENS; t++) {
    const pool = Array.from({ length: activeExperts }, () => draw(EXPERTS))
      .flatMap((expert) => Array.from({ length: each }, (_, i) => expert * each + i));
    for (let k = 0; k < TOP_K && pool.length > 0; k++) {
      reached.add(...pool.splice(draw(pool.length), 1) as [number]);
    }
  }
  return reached.size;
}

for (const activeExperts of [8, 1]) {
  Deno.test(`rows reached by ${activeExperts} of ${EXPERTS} experts of 16 neurons, top-K ${TOP_K}`, async () => {
    const drawn = drawnRows(activeExperts);
    const method = sparse({ neurons: NEURONS, experts: EXPERTS, activeExperts, topK: TOP_K });
    const run = plan(MODEL, { method, batch: { size: 4, micro: 4, seqLen: 256 }, steps: 1 });
    const near = (name: string, rows: number) =>
      assert.ok(Math.abs(rows - drawn) <= 0.05 * drawn, `${name}: ${rows} rows, drawn ${drawn}`);

    near("adapter", run.adapterKind.sizes(MODEL, TOKENS).rows!.touchedShare(TOKENS) * NEURONS);
    const chosen = TOKENS * Math.min(TOP_K, activeExperts * 16);
    // Without h, what scores get, and the router's gradient.
    const { pcie } = await predictDevice(run, "device");
    near("device", (pcie.down / L - 4 * (TOKENS * D + chosen + EXPERTS * D)) / (2 * 4 * D));

    const rates = {
      downBytesPerSecond: 1e10,
      upBytesPerSecond: 1e10,
      modelFlopsPerSecond: 1e13,
      scoreFlopsPerSecond: 1e12,
      pairFlopsPerSecond: 1e11,
      hostBytesPerSecond: 1e11,
      meetingSeconds: 1e-5,
    };
    const onDevice = (await predictSteps(run, rates)).find((way) =>
      way.placement === "device" && way.halves === 1
    );
    assert.ok(onDevice);
    const [F64, ROUTER] = [8, EXPERTS * D]; // floats of the reference, and the router that comes up and whose gradient comes down
    const down = onDevice.downBytes / L - F64 * (TOKENS * D + chosen + ROUTER);
    const up = onDevice.upBytes / L - F64 * ROUTER;
    near("cost model, gradients down", down / (2 * F64 * D));
    near("cost model, rows up", up / (2 * F64 * D));
    const sizes = { tokens: TOKENS, neurons: NEURONS, experts: EXPERTS, activeExperts, topK: TOP_K };
    assert.equal(unitedNeurons(sizes), up / (2 * F64 * D));
  });
}
