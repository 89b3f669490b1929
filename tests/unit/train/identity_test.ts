// SPDX-License-Identifier: Apache-2.0
/** What makes a run that run: every part of it is changed alone, and a resume says which it was. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { SavedAdapter } from "../../../lib/adapters/files/saved_adapter.ts";
import { type Dataset, datasetHash } from "../../../lib/data/dataset.ts";
import { lora, parallel, sparse } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import type { AdamwOptions } from "../../../lib/optim/adamw.ts";
import { batches } from "../../../lib/train/batches.ts";
import { checkResume, saveCheckpoint } from "../../../lib/train/checkpoint.ts";
import { plan, type Run, runIdentity, type RunOptions } from "../../../lib/train/plan.ts";
import { identityProblems } from "../../../lib/train/resume.ts";
import { init } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { SMALL_SPARSE, smallData, smallModel, smallOptions } from "./small_run.ts";

const ADAM: AdamwOptions = { lr: 0.02 };
const LORA = { rank: 3 };
const BATCH = { size: 4, micro: 2, seqLen: 12 };

const ofSparse = (options: object): RunOptions => ({ method: sparse({ ...SMALL_SPARSE, ...options }) });
const ofAdam = (options: AdamwOptions): RunOptions => ({ optimizer: adamw({ ...ADAM, ...options }) });
const ofBatch = (options: object): RunOptions => ({ batch: { ...BATCH, ...options } });
const ofLora = (options: object): RunOptions => ({ method: lora({ ...LORA, ...options }) });

/** Changes of a sparse run, and of a LoRA, with what a resume calls them. */
const CHANGES: Readonly<Record<"sparse" | "lora", readonly (readonly [string, RunOptions])[]>> = {
  sparse: [
    ["--neurons is 60", ofSparse({ neurons: 60 })],
    ["--experts is 8", ofSparse({ experts: 8 })],
    ["--active-experts is 3", ofSparse({ activeExperts: 3 })],
    ["--top-k is 2", ofSparse({ topK: 2 })],
    ['--gate is "sigmoid"', ofSparse({ gate: "sigmoid" })],
    ['--scope is "union"', ofSparse({ scope: "union" })],
    ['--keys is "frozen"', ofSparse({ keys: "frozen" })],
    ['adapter.routerInit is "random"', ofSparse({ routerInit: "random" })],
    ["adapter.routerScale is 7", ofSparse({ routerScale: 7 })],
    ["adapter.initStd is 0.5", ofSparse({ initStd: 0.5 })],
    ["--lr is 0.5", ofAdam({ lr: 0.5 })],
    ["--weight-decay is 0.5", ofAdam({ weightDecay: 0.5 })],
    ["--beta1 is 0.5", ofAdam({ beta1: 0.5 })],
    ["--beta2 is 0.5", ofAdam({ beta2: 0.5 })],
    ["--adam-eps is 0.5", ofAdam({ eps: 0.5 })],
    ["--clip is 0.5", ofAdam({ clip: 0.5 })],
    ["--clip is null", ofAdam({ clip: null })],
    ['--clip-by is "layer"', ofAdam({ clipBy: "layer" })],
    ['--adam is "lazy"', ofAdam({ mode: "lazy" })],
    ['--schedule is "cosine"', ofAdam({ schedule: "cosine" })],
    ["--warmup-ratio is 0.5", ofAdam({ schedule: { kind: "linear", warmupRatio: 0.5 } })],
    ["--batch-size is 5", ofBatch({ size: 5 })],
    ["--seq-len is 13", ofBatch({ seqLen: 13 })],
    ["--packing is true", ofBatch({ packing: true })],
    ["--seed is 7", { seed: 7 }],
    ['--method is "parallel"', { method: parallel({ neurons: 48 }) }],
  ],
  lora: [
    ["--rank is 2", ofLora({ rank: 2 })],
    ["--lora-alpha is 5", ofLora({ alpha: 5 })],
    ["--lora-dropout is 0.5", ofLora({ dropout: 0.5 })],
    ["--rslora is true", ofLora({ useRslora: true })],
    ['--target is ["q"]', ofLora({ targets: ["q"] })],
    ['--exclude-target is ["up"]', ofLora({ excludeTargets: ["up"] })],
    ["--layers-to-transform is [1]", ofLora({ layersToTransform: 1 })],
    ['--rank-pattern is {"q_proj":2}', ofLora({ rankPattern: { q_proj: 2 } })],
    ['--alpha-pattern is {"q_proj":2}', ofLora({ alphaPattern: { q_proj: 2 } })],
  ],
};

/** What may be otherwise. */
const ALLOWED: readonly RunOptions[] = [
  { steps: 9 },
  ofBatch({ micro: 4 }),
  { halves: 2 },
  { activations: "recompute" },
  { saveEvery: 1, saveTotalLimit: null, evalEvery: 3, out: "/elsewhere" },
  { epochs: 9 },
  { format: { chatTemplate: "off" } },
];

Deno.test("a resume refuses every change of what the steps taken mean, and names it", () => {
  using model = smallModel();
  const bases = { sparse: smallOptions(), lora: smallOptions(ofLora({})) };
  for (const [kind, base] of Object.entries(bases) as ["sparse" | "lora", RunOptions][]) {
    const saved = runIdentity(plan(model, base));
    for (const [said, change] of CHANGES[kind]) {
      const problems = identityProblems(saved, plan(model, { ...base, ...change }), 0);
      assert.ok(problems.some((one) => one.startsWith(`${said},`)), `${said}: ${problems}`);
      assert.ok(problems.every((one) => one.endsWith(": leave it as it was, or begin a new run")), said);
    }
    const placements = kind === "sparse" ? [{ placement: "device", cachedRows: 5 } as const] : [];
    for (const change of [...ALLOWED, ...placements]) {
      assert.deepEqual(
        identityProblems(saved, plan(model, { ...base, ...change }), 7),
        [],
        JSON.stringify(change),
      );
    }
  }
});

Deno.test("a resume refuses another type of products, another model and another adapter to start from", () => {
  using model = smallModel();
  const run = plan(model, smallOptions());
  const started = (tensorsHash: string): Run => ({ ...run, start: { tensorsHash } as SavedAdapter });
  const saved = runIdentity(started("1".repeat(64)));
  const kernels = { ...model.kernels, compute: "bf16" as const };
  const others: readonly (readonly [Partial<Run>, RegExp])[] = [
    [{ model: { ...model, kernels } }, /^--dtype is "bf16", the run has "f64": leave/],
    [
      { base: { name: "m", hash: "2".repeat(64) } },
      /^--model m holds other weights \(hash 2{12}\) than .* begun on \(hash [0-9a-f]{12}\)/,
    ],
    [
      started("3".repeat(64)),
      /^--adapter is another adapter than the run began with \(hash 3{12}, then 1{12}\)/,
    ],
    [{ start: null }, /^--adapter is another adapter than the run began with \(hash none, then 1{12}\)/],
  ];
  for (const [change, said] of others) {
    const [problem = "", ...more] = identityProblems(saved, { ...started("1".repeat(64)), ...change }, 0);
    assert.match(problem, said);
    assert.deepEqual(more, []);
  }
});

Deno.test("a resume that has taken its steps already is no resume; one that has taken all of them may be asked again", () => {
  using model = smallModel();
  const run = plan(model, smallOptions({ steps: 7 }));
  assert.deepEqual(identityProblems(runIdentity(run), run, 7), []);
  assert.deepEqual(identityProblems(runIdentity(run), run, 8), [
    "the run would have 7 steps, but has taken 8 already: give more --steps or --epochs",
  ]);
});

Deno.test("checkResume() looks at the newest checkpoint before data is read", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const run = plan(model, smallOptions());
    assert.equal(await checkResume(run, folder), null);
    let state = init(run);
    for (const step of batches(run, smallData())) {
      if (state.step === 2) break;
      [state] = await trainStep(run, state, step);
      await saveCheckpoint(run, state, "data", folder);
    }
    assert.equal(await checkResume(run, folder), join(folder, "step-000002"));
    assert.equal(
      await checkResume(plan(model, smallOptions({ steps: 2 })), folder),
      join(folder, "step-000002"),
    );
    await assert.rejects(checkResume(plan(model, smallOptions({ steps: 1 })), folder), {
      name: "ValidationError",
      message: /^Resuming from .*step-000002 has 1 problem:\n.*would have 1 steps, but has taken 2/,
    });
    await assert.rejects(
      checkResume(plan(model, smallOptions({ seed: 1 })), folder),
      /--seed is 1, the run has 42/,
    );
    await Deno.writeTextFile(join(folder, "step-000002", "state.json"), "{");
    assert.equal(
      await checkResume(run, folder),
      join(folder, "step-000002"),
      "loading it says what is wrong",
    );
  }));

Deno.test("the order of the data is the seed's, the epoch's and the batch's", () => {
  using model = smallModel();
  const order = (options: RunOptions) => {
    const run = plan(model, smallOptions({ steps: 6, ...options }));
    const data = options.batch?.packing ? { ...smallData(), seqLen: 24 } : smallData();
    return [...batches(run, data)].map(({ microBatches }) =>
      microBatches.map(({ examples }) => [...examples])
    );
  };
  const first = order({});
  assert.deepEqual(order({}), first);
  assert.deepEqual(first.map((step) => step.map((micro) => micro.length)), Array(6).fill([2, 2]));
  assert.deepEqual(first.slice(0, 3).flat(2).sort((a, b) => a - b), Array.from({ length: 12 }, (_, i) => i));
  assert.notDeepEqual(first.slice(3), first.slice(0, 3), "each epoch has an order of its own");
  assert.notDeepEqual(order({ seed: 43 }), first);
  assert.deepEqual(order(ofBatch({ micro: 3 })).map((step) => step.flat()), first.map((step) => step.flat()));
  assert.deepEqual(order(ofBatch({ micro: 3 }))[0]?.map((micro) => micro.length), [3, 1]);
  const packed = order(ofBatch({ packing: true, seqLen: 24 }));
  assert.ok((packed[0]?.[0]?.length ?? 0) > 2, "rows hold several examples");
});

Deno.test("datasetHash() is of every token, of every mark of the mask, of lengths and of their order", () => {
  const data = smallData();
  const seen = new Set([datasetHash(data)]);
  const tokens = data.ids.length;
  const others: Dataset[] = [];
  for (const place of [0, tokens >> 1, tokens - 1]) {
    others.push({ ...data, ids: data.ids.with(place, (data.ids[place] as number) ^ 1) });
    others.push({ ...data, lossMask: data.lossMask.with(place, 1 - (data.lossMask[place] as number)) });
  }
  others.push({ ...data, offsets: data.offsets.with(1, (data.offsets[1] as number) + 1) });
  others.push({ ...data, offsets: data.offsets.with(11, (data.offsets[11] as number) - 1) });
  others.push({ ...data, offsets: data.offsets.slice(0, -1) });
  for (const other of others) seen.add(datasetHash(other));
  assert.equal(seen.size, 1 + others.length);
  assert.equal(
    datasetHash({ ...data, files: ["elsewhere.jsonl"], lineOf: data.lineOf.map((line) => line + 5) }),
    [
      ...seen,
    ][0],
  );
});
