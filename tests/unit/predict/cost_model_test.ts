// SPDX-License-Identifier: Apache-2.0
/** What steps take by counted passes on lanes in virtual time, against sums by hand and a schedule written down beside them. */
import assert from "node:assert/strict";
import { lora, sparse } from "../../../lib/methods/methods.ts";
import { describeModel } from "../../../lib/models/described.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { unitedNeurons } from "../../../lib/ops/sparse_pairs.ts";
import { predictSteps, type StepPrediction } from "../../../lib/predict/cost_model.ts";
import type { LaneRates } from "../../../lib/predict/machine/rates.ts";
import { busiest } from "../../../lib/train/lane_account.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { backwardTime, forwardTime, type LayerCosts } from "../../fixtures/lane_schedule.ts";

/** Sizes that are done by hand: D hidden, F feed-forward, Q columns of queries, K of keys, V vocabulary. */
const [D, F, Q, K, V, LAYERS] = [16, 36, 24, 8, 50, 5] as const;
const [NEURONS, EXPERTS, ACTIVE, TOP_K] = [16, 4, 2, 2] as const;
/** Two sequences a micro-batch. */
const [SEQUENCES, LENGTH] = [2, 6] as const;
const T = SEQUENCES * LENGTH;
const FLOAT = 8; // of the reference

const modelOf = (architecture: string) =>
  describeModel({
    architectures: [architecture],
    model_type: "llama",
    hidden_size: D,
    intermediate_size: F,
    num_hidden_layers: LAYERS,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    head_dim: 4,
    vocab_size: V,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-5,
    hidden_act: "silu",
  }, referenceKernels());
const MODEL = modelOf("LlamaForCausalLM");

const RATES: LaneRates = {
  downBytesPerSecond: 1e5,
  upBytesPerSecond: 2e5,
  modelFlopsPerSecond: 1e6,
  scoreFlopsPerSecond: 4e5,
  pairFlopsPerSecond: 3e5,
  hostBytesPerSecond: 5e5,
  meetingSeconds: 0,
};

const METHOD = sparse({ neurons: NEURONS, experts: EXPERTS, activeExperts: ACTIVE, topK: TOP_K });

function predict(options: RunOptions = {}, rates: Partial<LaneRates> = {}): Promise<StepPrediction[]> {
  const batch = { size: 3 * SEQUENCES, micro: SEQUENCES, seqLen: LENGTH };
  const run = plan(MODEL, { method: METHOD, batch, steps: 1, ...options });
  return predictSteps(run, { ...RATES, ...rates });
}

async function predictHost(halves: 1 | 2, options: RunOptions = {}, rates: Partial<LaneRates> = {}) {
  const found = (await predict(options, rates)).find((way) =>
    way.placement === "host" && way.halves === halves
  );
  assert.ok(found);
  return found;
}

/** Seconds of one micro-batch by hand, forward and backward, and of its head. */
function byHand(recompute: boolean, meeting: number) {
  const seconds = (operations: number) => operations / RATES.modelFlopsPerSecond;
  const [projections, pairs] = [4 * T * D * (Q + K), SEQUENCES * LENGTH * (LENGTH + 1) / 2];
  const [attention, attentionBack] = [projections + 4 * pairs * Q, projections + 10 * pairs * Q];
  const ffn = 6 * T * D * F;
  const copies = {
    down: T * D * FLOAT / RATES.downBytesPerSecond,
    up: T * D * FLOAT / RATES.upBytesPerSecond,
    meeting,
  };
  const scores = 2 * T * D * (EXPERTS + ACTIVE * NEURONS / EXPERTS) / RATES.scoreFlopsPerSecond;
  const values = 2 * T * D * TOP_K / RATES.pairFlopsPerSecond;
  // Four products a pair, and of the router's gradient two an expert.
  const rows = 2 * T * D * (4 * TOP_K + 2 * ACTIVE) / RATES.pairFlopsPerSecond;
  const forward: LayerCosts = {
    attention: seconds(attention),
    feedForward: seconds(ffn),
    recompute: 0,
    host: scores + values,
    ...copies,
  };
  const backward: LayerCosts = {
    attention: seconds(attentionBack),
    feedForward: seconds(ffn),
    recompute: recompute ? seconds(attention + 4 * T * D * F) : 0, // all but `down`
    host: rows,
    ...copies,
  };
  // Below the lowest rows nothing is trained.
  const lowest = { ...backward, attention: 0, feedForward: 0 };
  const targets = SEQUENCES * (LENGTH - 1);
  return {
    forward: Array.from({ length: LAYERS }, () => forward),
    backward: Array.from({ length: LAYERS }, (_, layer) => layer === 0 ? lowest : backward),
    head: seconds(4 * targets * D * V),
  };
}

const near = (name: string, actual: number, expected: number, within = 1e-9 * expected) =>
  assert.ok(Math.abs(actual - expected) <= within, `${name}: ${actual}, by hand ${expected}`);

for (const activations of ["store", "recompute"] as const) {
  for (const pairFlopsPerSecond of [3e5, 3e4]) {
    Deno.test(`predictSteps() by hand: rows on the host, ${activations}, ${pairFlopsPerSecond} a second`, async () => {
      const rates = { pairFlopsPerSecond };
      const { forward, backward, head } = byHand(activations === "recompute", 0);
      const slower = RATES.pairFlopsPerSecond / pairFlopsPerSecond;
      const values = 2 * T * D * TOP_K / RATES.pairFlopsPerSecond;
      const [ahead, back] = [
        forward.map((layer) => ({ ...layer, host: layer.host + (slower - 1) * values })),
        backward.map((layer) => ({ ...layer, host: slower * layer.host })),
      ];
      const sum = (of: (layer: LayerCosts) => number) =>
        3000 * [...ahead, ...back].reduce((total, layer) => total + of(layer), 0);
      for (const halves of [1, 2] as const) {
        const found = await predictHost(halves, { activations }, rates);
        const { busyMs, stepMs, bound } = found;
        near(
          "model",
          busyMs.model,
          sum((layer) => layer.attention + layer.feedForward + layer.recompute) + 3000 * head,
        );
        near("down", busyMs.down, sum(({ down }) => down));
        near("host", busyMs.host, sum(({ host }) => host));
        near("up", busyMs.up, sum(({ up }) => up));
        assert.equal(found.downBytes, 3 * LAYERS * 2 * T * D * FLOAT, "h and dy");
        assert.equal(found.upBytes, 3 * LAYERS * 2 * T * D * FLOAT, "y and dh");
        assert.equal(bound, busiest(busyMs));
        const expected = 3000 * (forwardTime(ahead, halves) + head + backwardTime(back, halves));
        // Where parts take turns, that of forward and backward is no layer's: allow for one.
        const layer = 1000 *
          Math.max(...[...ahead, ...back].map((each) => each.attention + each.feedForward + each.host));
        near(`step in ${halves}`, stepMs, expected, halves === 1 ? 1e-9 * expected : 3 * layer);
      }
    });
  }
}

Deno.test("every meeting of two lanes that is not hidden costs its time", async () => {
  const met = async (meetingSeconds: number) =>
    (await predictHost(1, {}, { meetingSeconds, pairFlopsPerSecond: 3e4 })).stepMs;
  const [without, some] = [await met(0), await met(1e-4)];
  // The host learns of h and of dy, whoever waits of y and of dh; and once of the loss.
  near("meetings", some - without, 3 * (4 * LAYERS + 1) * 0.1, 1e-6);
});

Deno.test("predictSteps() by hand: rows where the model is", async () => {
  const batch = { size: SEQUENCES, micro: SEQUENCES, seqLen: LENGTH };
  const found = (await predict({ batch })).find((way) => way.placement === "device" && way.halves === 1);
  assert.ok(found);
  const rows = unitedNeurons({
    tokens: T,
    neurons: NEURONS,
    experts: EXPERTS,
    activeExperts: ACTIVE,
    topK: TOP_K,
  });
  const { forward, backward, head } = byHand(false, 0);
  const frozen = [...forward, ...backward].reduce(
    (sum, layer) => sum + layer.attention + layer.feedForward,
    0,
  );
  // Values forward; their gradient and that of scores, that of keys, and dh, backward; the router's two.
  const dense = LAYERS * (5 * 2 * T * rows * D + 2 * 2 * T * EXPERTS * D) / RATES.modelFlopsPerSecond;
  near("model", found.busyMs.model, 1000 * (frozen + head + dense));
  const [router, pairs] = [EXPERTS * D, T * TOP_K];
  assert.equal(found.upBytes, LAYERS * FLOAT * (2 * rows * D + router), "keys, values, router");
  assert.equal(found.downBytes, LAYERS * FLOAT * (T * D + pairs + 2 * rows * D + router), "h, dz, gradients");
  const scores = 2 * T * D * (EXPERTS + ACTIVE * NEURONS / EXPERTS) / RATES.scoreFlopsPerSecond;
  // Packed, and gradients added: read and written.
  const traffic = 2 * 2 * FLOAT * 2 * rows * D / RATES.hostBytesPerSecond;
  near("host", found.busyMs.host, 1000 * LAYERS * (scores + traffic));
  near("up", found.busyMs.up, 1000 * found.upBytes / RATES.upBytesPerSecond);
  near("down", found.busyMs.down, 1000 * found.downBytes / RATES.downBytesPerSecond);
});

Deno.test("rows that stay where the model is travel once a step, those that must make room come again", async () => {
  const device = async (options: RunOptions) =>
    (await predict(options)).find((way) => way.placement === "device" && way.halves === 1)!;
  const batch = (micros: number) => ({ size: micros * SEQUENCES, micro: SEQUENCES, seqLen: LENGTH });
  const [one, eight] = [await device({ batch: batch(1) }), await device({ batch: batch(8) })];
  assert.ok(eight.upBytes < 2 * one.upBytes, "there are no more rows than there are");
  const few = await device({ batch: batch(8), cachedRows: 4 });
  assert.ok(few.upBytes > 8 * one.upBytes && few.stepMs > eight.stepMs);
  assert.ok(few.deviceBytes < eight.deviceBytes);
});

Deno.test("steps take no less than their busiest lane, and parts that take turns hide work of the host", async () => {
  for (const activations of ["store", "recompute"] as const) {
    for (const { stepMs, busyMs, bound } of await predict({ activations })) {
      assert.ok(stepMs >= Math.max(...Object.values(busyMs)) * (1 - 1e-9));
      assert.equal(busyMs[bound], Math.max(...Object.values(busyMs)));
    }
    const [whole, parts] = [await predictHost(1, { activations }), await predictHost(2, { activations })];
    assert.ok(parts.stepMs < whole.stepMs);
  }
});

Deno.test("predictSteps() names the bound: slow copies, slow host, slow model; and one lane of several that work as long", async () => {
  const bound = async (rates: Partial<LaneRates>) => (await predictHost(2, {}, rates)).bound;
  assert.equal(await bound({}), "model");
  assert.equal(await bound({ pairFlopsPerSecond: 1e4 }), "host");
  assert.equal(await bound({ upBytesPerSecond: 1e3 }), "up");
  assert.equal(await bound({ downBytesPerSecond: 1e3 }), "down");
  assert.equal(busiest({ model: 1, down: 1, host: 1, up: 1 }), "model");
  assert.equal(busiest({ model: 0, down: 1, host: 1, up: 1 }), "host");
  assert.equal(busiest({ model: 0, down: 2, host: 1, up: 1 }), "down");
});

Deno.test("what else is trained beside rows is the model's lane's, and micro-batches that are left over are counted", async () => {
  const also = [lora({ rank: 3 }).adapter];
  const [alone, joined] = [await predictHost(1), await predictHost(1, { also })];
  assert.ok(joined.busyMs.model > alone.busyMs.model);
  assert.deepEqual([joined.busyMs.host, joined.upBytes], [alone.busyMs.host, alone.upBytes]);
  const bytes = async (size: number) =>
    (await predictHost(1, { batch: { size, micro: 2, seqLen: LENGTH } })).downBytes;
  const perRow = LAYERS * 2 * LENGTH * D * FLOAT;
  assert.deepEqual([await bytes(2), await bytes(5), await bytes(8)], [2 * perRow, 5 * perRow, 8 * perRow]);
});

Deno.test("a head on sequences has one target a row, and sees rows of full length", async () => {
  const batch = { size: SEQUENCES, micro: SEQUENCES, seqLen: LENGTH };
  const model = modelOf("LlamaForSequenceClassification");
  const run = plan(model, { method: METHOD, batch, steps: 1 });
  const found = (await predictSteps(run, RATES)).find((way) => way.placement === "host" && way.halves === 1);
  assert.ok(found);
  const { forward, backward } = byHand(false, 0);
  const layers = [...forward, ...backward].reduce(
    (sum, layer) => sum + layer.attention + layer.feedForward,
    0,
  );
  const [labels, passes] = [2, 3]; // forward, and back to its weight, which is trained, and to what it sees
  const head = passes * 2 * SEQUENCES * D * labels / RATES.modelFlopsPerSecond;
  near("model", found.busyMs.model, 1000 * (layers + head));
});
