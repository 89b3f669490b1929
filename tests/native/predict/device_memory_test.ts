// SPDX-License-Identifier: Apache-2.0
/** What a run takes of a device and of the host beside it, counted, against what it then takes, byte for byte. */
import assert from "node:assert/strict";
import { full, lora, type Method, parallel, sparse } from "../../../lib/methods/methods.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { countedRun } from "../../../lib/predict/counted_passes.ts";
import { predictDevice } from "../../../lib/predict/device_memory.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan, tokensPerStep } from "../../../lib/train/plan.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { randomTokens } from "../../fixtures/memory_cases.ts";
import { SMALL_SPARSE, smallModel, smallOptions } from "../../unit/train/small_run.ts";

const { backend } = openTestDevice();
/** Small, so that what activations need shows in what they reserve. */
const BLOCK_BYTES = 1 << 12;
const CLASSES = ["parameters", "gradients", "activations", "pinned"] as const;
/** All rows are of full length: what is planned for them is what comes. */
const [SEQ_LEN, STEPS, ROWS] = [12, 2, 4];

/** Policies and parts of a micro-batch. */
const WAYS = (["store", "recompute"] as const).flatMap((activations) =>
  ([1, 2] as const).map((halves) => ({ activations, halves }))
);

const METHODS = [
  sparse(SMALL_SPARSE),
  sparse({ ...SMALL_SPARSE, keys: "frozen", gate: "sigmoid" }),
  parallel({ neurons: 40 }),
  lora({ rank: 3, targets: ["q", "down"], dropout: 0.1 }),
  full(),
];

const CASES = [
  ...METHODS.map((method) => ({ method, ways: WAYS })),
  // Its gradients hold activations while they are idle.
  { method: parallel({ neurons: 12288 }), ways: WAYS.slice(0, 1) },
];

/** A way to run: policy, and parts of a micro-batch. */
type Way = typeof WAYS[number];

/** Counts a run, trains it, and compares what both took. */
async function compare(name: string, method: Method, { activations, halves }: Way): Promise<void> {
  using k = cudaKernels({ compute: "bf16", blockBytes: BLOCK_BYTES, host: { threads: 1 } });
  using model = openCheckpoint(modelFixture(name).dir, k);
  const batch = { size: ROWS, micro: 2, seqLen: SEQ_LEN };
  const run = plan(model, smallOptions({ method, activations, halves, batch, steps: STEPS }));
  const size = { tokens: 2 * SEQ_LEN, targets: 2 * (SEQ_LEN - 1) };
  const counted = countedRun(model, run.adapterKind, {
    ...{ activations, halves, tokensPerStep: tokensPerStep(run.settings) },
  });
  await counted.train(size, { first: true, longest: SEQ_LEN });
  await counted.train(size, { longest: SEQ_LEN });
  const data = randomTokens(Array(STEPS * ROWS).fill(SEQ_LEN), model.config.vocabSize, SEQ_LEN);
  const training = train(run, data);
  for await (const _ of training);

  const title = `${name}, ${activations}, in ${halves}`;
  const { ledger } = k.device.facts();
  const { kernels } = counted;
  const ofDevice = (name: typeof CLASSES[number]): number => kernels.device?.ledger.held.get(name) ?? 0;
  const pinned = (kernels.ledger.held.get("pinned") ?? 0) +
    [kernels, kernels.twin()].reduce((sum, { hostArena }) => sum + blocks(hostArena.bytes), 0);
  assert.deepEqual(
    CLASSES.map((name) => name === "pinned" ? pinned : ofDevice(name)),
    CLASSES.map((name) => ledger[name]?.bytes ?? 0),
    title,
  );
  const links = (table: typeof k | typeof kernels) => [table.link.bytes, table.twin().link.bytes];
  const steps = links(kernels).map(({ up, down }) => ({ up: STEPS * up, down: STEPS * down }));
  assert.deepEqual(links(k).map(({ up, down }) => ({ up, down })), steps, `${title}: over the link`);
  for (const name of ["parameters", "gradients", "activations"] as const) {
    assert.equal(k.ledger.held.get(name) ?? 0, kernels.ledger.held.get(name) ?? 0, `${title}: ${name}`);
  }
  training.adapter?.release();
}

for (const { method, ways } of CASES) {
  const title = `${method.name} ${JSON.stringify(method.adapter.options)}`;
  Deno.test(`countedRun() takes what the run takes of ${backend} and of the host, ${title}`, async () => {
    for (const way of ways) await compare("llama3_tied", method, way);
  });
}

for (const name of ["qwen3_tied", "llama_biases", "mistral_bf16", "qwen2_tied"]) {
  Deno.test(`countedRun() takes what the run takes of ${backend} and of the host, ${name}`, async () => {
    await compare(name, sparse(SMALL_SPARSE), { activations: "recompute", halves: 2 });
    await compare(name, lora({ rank: 3 }), { activations: "store", halves: 1 });
  });
}

/** What an arena reserves that has touched as much. */
function blocks(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

Deno.test(`predictDevice() says what rows take of ${backend} that are computed with there`, async () => {
  for (const cachedRows of [null, 20]) {
    for (const compute of ["bf16", "f32"] as const) {
      using k = cudaKernels({ compute, host: { threads: 1 } });
      using model = smallModel(k);
      const placed = { placement: "device", ...(cachedRows && { cachedRows }) } as const;
      const run = plan(model, smallOptions({ method: sparse(SMALL_SPARSE), steps: 1, ...placed }));
      const { device } = await predictDevice(run, "device");
      const data = randomTokens(Array(STEPS * ROWS).fill(SEQ_LEN), 61, SEQ_LEN);
      const training = train(run, data);
      for await (const _ of training);
      assert.equal(k.device.facts().ledger["cache"]?.bytes, device.adapter, `${cachedRows} ${compute}`);
      training.adapter?.release();
    }
  }
});
