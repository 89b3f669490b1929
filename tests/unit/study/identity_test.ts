// SPDX-License-Identifier: Apache-2.0
/** What makes two cells one: every setting and every choice of scoring is changed, and the cell is another one or stays. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { prepareCells } from "../../../lib/study/prepare.ts";
import { createResources, type Resources } from "../../../lib/study/resources.ts";
import { resolveScoring, scoringIdentity, type ScoringOptions } from "../../../lib/study/scoring.ts";
import { saveAdapter } from "../../../lib/train/adapters.ts";
import { loadModel } from "../../../lib/train/open_model.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { SETTING_NAMES } from "../../../lib/train/setting_table.ts";
import type { TrainSettings } from "../../../lib/train/settings.ts";
import { sparse } from "../../../lib/methods/methods.ts";
import { chatModel, writeRows } from "../../e2e/chat_model.ts";
import { pairModel } from "../../fixtures/pair_model.ts";
import { withFolder } from "../../fixtures/folder.ts";

const ROWS = [
  { question: "Where was Ada born?", answer: "London" },
  { question: "Where was Emmy born?", answer: "Erlangen" },
  { question: "Where was Sofia born?", answer: "Moscow" },
];

/** A study's folder of inputs. */
interface Inputs {
  readonly folder: string;
  readonly base: TrainSettings;
  /** Prepares cells one after the other, as one study does. */
  readonly cellOf: (settings: TrainSettings, scoring?: ScoringOptions) => Promise<string>;
}

async function withInputs(body: (inputs: Inputs) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const model = await chatModel(folder);
    await otherModel(join(folder, "other"));
    for (const seed of [1, 2]) await writeAdapter(model, seed, join(folder, `adapter-${seed}`));
    const data = await writeRows(join(folder, "rows.jsonl"), ROWS);
    await writeRows(join(folder, "others.jsonl"), [...ROWS].reverse());
    await Deno.writeTextFile(join(folder, "tokens.txt"), "<d>\n<e>\n<f>\n");
    const labelled = [{ text: "a b", label: 0 }, { text: "b c", label: 1 }, { text: "c d", label: 1 }];
    await writeRows(join(folder, "labelled.jsonl"), labelled);
    await writeRows(join(folder, "pairs.jsonl"), [{ source: "a b", target: "b a c d", other: "e" }]);
    for (const family of ["bart", "mbart"] as const) await pairModel(folder, family);
    const base: TrainSettings = {
      ...{ model, device: "cpu", dtype: "f32", threads: 1, data, seqLen: 64, dataCache: "off" },
      ...{ neurons: 16, experts: 4, topK: 4, steps: 2, batchSize: 2 },
    };
    using resources = createResources();
    await body({ folder, base, cellOf: (settings, scoring) => cellIn(resources, settings, scoring) });
  });
}

/** The same model but for one number of its configuration. */
async function otherModel(folder: string): Promise<void> {
  await Deno.mkdir(folder);
  const model = await chatModel(folder);
  const path = join(model, "config.json");
  const config = JSON.parse(await Deno.readTextFile(path));
  await Deno.remove(path); // which is a link
  await Deno.writeTextFile(path, JSON.stringify({ ...config, rms_norm_eps: 1e-4 }));
}

async function writeAdapter(dir: string, seed: number, folder: string): Promise<void> {
  using model = await loadModel(dir, { device: "cpu", threads: 1 });
  const run = plan(model, { method: sparse({ neurons: 16, experts: 4, topK: 4 }), seed });
  const { params } = init(run);
  await saveAdapter(model, params, folder);
  params.release();
}

/** The name of the one cell that the settings are. */
async function cellIn(
  resources: Resources,
  settings: TrainSettings,
  scoring: ScoringOptions = {},
): Promise<string> {
  const cell = { label: "", parts: [], settings };
  const [prepared] = await prepareCells([cell], resources, resolveScoring(scoring), () => null);
  if (prepared === undefined) throw new Error("There is no cell");
  return prepared.id;
}

/** A change of settings, and what both cells have besides. */
interface Change {
  readonly to: TrainSettings;
  readonly with?: TrainSettings;
}

const NO_SIZES = { neurons: undefined, experts: undefined, topK: undefined } as never as TrainSettings;
const REVERSIBLE = { ...NO_SIZES, method: "meft1" };
const LORA = { ...NO_SIZES, method: "lora" };

/** Of what is read and what is written of it. */
function decidingPairs(folder: string): Readonly<Partial<Record<keyof TrainSettings, Change>>> {
  const data = join(folder, "pairs.jsonl");
  const bart = { model: join(folder, "bart"), data, seqLen: 12 };
  const mbart = { ...bart, model: join(folder, "mbart") };
  return {
    targetLen: { to: { targetLen: 4 }, with: bart },
    sourceField: {
      to: { sourceField: "other" },
      with: { ...bart, sourceField: "source", targetField: "target" },
    },
    targetField: {
      to: { targetField: "other" },
      with: { ...bart, sourceField: "source", targetField: "target" },
    },
    sourcePrefix: { to: { sourcePrefix: "m " }, with: bart },
    srcLang: { to: { srcLang: "ro_RO" }, with: mbart },
    tgtLang: { to: { tgtLang: "ro_RO" }, with: mbart },
  };
}

/** Settings that decide what a run learns. */
function deciding(folder: string): Readonly<Partial<Record<keyof TrainSettings, Change>>> {
  return {
    model: { to: { model: join(folder, "other", "model") } },
    dtype: { to: { dtype: "bf16" } },
    addTokens: { to: { addTokens: ["zz"] } },
    addSpecialTokens: { to: { addSpecialTokens: ["<b>", "<c>"] } },
    addTokensFrom: { to: { addTokensFrom: join(folder, "tokens.txt") } },
    padVocabularyTo: { to: { padVocabularyTo: 1000 } },
    data: { to: { data: join(folder, "others.jsonl") } },
    seqLen: { to: { seqLen: 48 } },
    lossOn: { to: { lossOn: "all" } },
    chatTemplate: { to: { chatTemplate: "off" } },
    thinking: { to: { thinking: "on" }, with: { thinking: "off" } },
    ...decidingPairs(folder),
    system: { to: { system: "Be brief." }, with: { seqLen: 128 } },
    templateOptions: { to: { templateOptions: { today: "Monday" } } },
    evalData: {
      to: { evalData: join(folder, "others.jsonl") },
      with: { evalData: join(folder, "rows.jsonl") },
    },
    packing: { to: { packing: true } },
    method: { to: { ...NO_SIZES, method: "parallel" } },
    adapter: {
      to: { adapter: join(folder, "adapter-2") },
      with: { ...NO_SIZES, adapter: join(folder, "adapter-1") },
    },
    neurons: { to: { neurons: 32 } },
    experts: { to: { experts: 8 } },
    activeExperts: { to: { activeExperts: 1 }, with: { activeExperts: 2 } },
    topK: { to: { topK: 2 } },
    gate: { to: { gate: "softmax" } },
    scope: { to: { scope: "union" } },
    keys: { to: { keys: "frozen" } },
    placement: { to: { placement: "device" } },
    halves: { to: { halves: 2 } },
    rank: { to: { rank: 2 }, with: LORA },
    loraAlpha: { to: { loraAlpha: 2 }, with: LORA },
    loraDropout: { to: { loraDropout: 0.5 }, with: LORA },
    rslora: { to: { rslora: true }, with: LORA },
    target: { to: { target: ["q", "v"] }, with: LORA },
    excludeTarget: { to: { excludeTarget: ["q"] }, with: LORA },
    layersToTransform: { to: { layersToTransform: [1] }, with: LORA },
    loraBias: { to: { loraBias: "all" }, with: LORA },
    wiring: { to: { wiring: "meft3" }, with: { ...NO_SIZES, method: "bottleneck", wiring: "meft1" } },
    lambda: { to: { lambda: 0.5 }, with: REVERSIBLE },
    beta: { to: { beta: 0.5 }, with: REVERSIBLE },
    switchStreams: { to: { switchStreams: false }, with: REVERSIBLE },
    streams: { to: { streams: "f32" }, with: REVERSIBLE },
    fractionBits: { to: { fractionBits: 9 }, with: REVERSIBLE },
    combination: { to: { combination: "mean" }, with: REVERSIBLE },
    bottleneck: { to: { bottleneck: 3 }, with: REVERSIBLE },
    bottleneckDropout: { to: { bottleneckDropout: 0.5 }, with: REVERSIBLE },
    frozenLayers: { to: { frozenLayers: 1 }, with: REVERSIBLE },
    modulesToSave: { to: { modulesToSave: ["norm"] }, with: LORA },
    trainableTokenIndices: { to: { trainableTokenIndices: [5] }, with: LORA },
    ensureWeightTying: {
      to: { ensureWeightTying: true },
      with: { ...LORA, modulesToSave: ["embed_tokens"] },
    },
    task: {
      to: { task: "regression" },
      with: { task: "classification", data: join(folder, "labelled.jsonl") },
    },
    newHead: {
      to: { newHead: true },
      with: { task: "classification", data: join(folder, "labelled.jsonl") },
    },
    rankPattern: { to: { rankPattern: { q_proj: 2 } }, with: LORA },
    alphaPattern: { to: { alphaPattern: { q_proj: 2 } }, with: LORA },
    lr: { to: { lr: 1e-3 } },
    schedule: { to: { schedule: "cosine" } },
    warmupRatio: { to: { warmupRatio: 0.5 } },
    weightDecay: { to: { weightDecay: 0.1 } },
    adam: { to: { adam: "dense" } },
    beta1: { to: { beta1: 0.5 } },
    beta2: { to: { beta2: 0.5 } },
    adamEps: { to: { adamEps: 1e-3 } },
    clip: { to: { clip: 0 } },
    clipBy: { to: { clipBy: "layer" } },
    epochs: { to: { epochs: 9 }, with: { steps: undefined } as never as TrainSettings },
    steps: { to: { steps: 3 } },
    batchSize: { to: { batchSize: 3 } },
    microBatchSize: { to: { microBatchSize: 1 } },
    seed: { to: { seed: 43 } },
  };
}

/** Settings that change where a run computes, what it keeps and how long it takes, but no result. */
const INDIFFERENT: Readonly<Partial<Record<keyof TrainSettings, TrainSettings>>> = {
  device: { device: "auto" },
  threads: { threads: 2 },
  badRows: { badRows: "skip" },
  dataCache: { dataCache: "on" },
  cachedRows: { cachedRows: 4 },
  activations: { activations: "recompute" },
  evalEvery: { evalEvery: 1 },
  saveEvery: { saveEvery: 1 },
  saveLimit: { saveLimit: 1 },
};

/** The same of a run whose layers are undone. */
const INDIFFERENT_TO_REVERSIBLE: Readonly<Partial<Record<keyof TrainSettings, TrainSettings>>> = {
  reversibleLayers: { reversibleLayers: 1 },
  anchorEvery: { anchorEvery: 1 },
};

function merged(base: TrainSettings, change: TrainSettings = {}): TrainSettings {
  const entries = Object.entries({ ...base, ...change });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

Deno.test("a cell is another one when any setting that decides its results is, and the same when any other is", () =>
  withInputs(async ({ folder, base, cellOf }) => {
    const cells = new Map<string, string>();
    for (const [name, { to, with: also }] of Object.entries(deciding(folder))) {
      const from = merged(base, also);
      const [before, after] = [await cellOf(from), await cellOf(merged(from, to))];
      assert.notEqual(after, before, name);
      assert.equal(cells.get(after), undefined, `${name} and ${cells.get(after)} are one cell`);
      cells.set(after, name);
    }
    const cell = await cellOf(base);
    for (const [name, to] of Object.entries(INDIFFERENT)) {
      assert.equal(await cellOf(merged(base, to)), cell, name);
    }
    const reversible = merged(base, REVERSIBLE);
    for (const [name, to] of Object.entries(INDIFFERENT_TO_REVERSIBLE)) {
      assert.equal(await cellOf(merged(reversible, to)), await cellOf(reversible), name);
    }
    // Data that nobody is asked about counts too: what is learnt from, and what the loss is watched on.
    const [rows, others] = [join(folder, "rows.jsonl"), join(folder, "others.jsonl")];
    const unasked = [{}, { data: others }, { evalData: rows }, { evalData: others }];
    const named = await Promise.all(unasked.map((to) => cellOf(merged(base, to), { metrics: [] })));
    assert.equal(new Set(named).size, unasked.length);
    const known = [deciding(folder), INDIFFERENT, INDIFFERENT_TO_REVERSIBLE].flatMap((of) => Object.keys(of));
    assert.deepEqual(known.sort(), [...SETTING_NAMES].sort(), "every setting is one or the other");
  }));

Deno.test("a cell's name says its method and its seed, and a setting that is as it would be anyway changes nothing", () =>
  withInputs(async ({ base, cellOf }) => {
    assert.match(await cellOf(base), /^sparse-seed-42-[0-9a-f]{12}$/);
    assert.match(await cellOf(merged(base, { ...LORA, seed: 7 })), /^lora-seed-7-[0-9a-f]{12}$/);
    const said = { method: "sparse", lr: 1e-4, seed: 42, gate: "raw", schedule: "linear", clip: 1 } as const;
    assert.equal(await cellOf({ ...base, ...said }), await cellOf(base));
  }));

Deno.test("a cell is another one when its questions, their answers, or what is taken of them is another", () =>
  withInputs(async ({ folder, base, cellOf }) => {
    const cells = [
      await cellOf(base),
      await cellOf(base, { metrics: ["f1"] }),
      await cellOf(base, { metrics: ["exact-match", "f1"] }),
      await cellOf(base, { metrics: [] }),
      await cellOf(base, { limit: 1 }),
      await cellOf(base, { limit: 2 }),
      await cellOf(base, { maxNewTokens: 8 }),
      await cellOf(base, { stop: [] }),
      await cellOf(base, { stop: ["\n", "."] }),
    ];
    assert.equal(new Set(cells).size, cells.length);
    assert.equal(
      await cellOf(base, { sequences: 1 }),
      cells[0],
      "answered one by one, the answers are the same",
    );
    const decided = { metrics: ["exact-match"], maxNewTokens: 32, stop: ["\n"] } as const;
    assert.equal(await cellOf(base, decided), cells[0]);

    // The same rows to learn from, but more answers that count.
    const data = await writeRows(
      join(folder, "more.jsonl"),
      ROWS.map(({ question, answer }) => ({ question, answer: [answer, "there"] })),
    );
    const more = await cellOf({ ...base, data });
    assert.notEqual(more, cells[0]);
    assert.equal(
      await cellOf({ ...base, data }, { metrics: [] }),
      await cellOf(base, { metrics: [] }),
      "where nobody asks, no answer counts",
    );
    // The same weights, but another end of an answer.
    await Deno.writeTextFile(
      join(base.model as string, "generation_config.json"),
      '{"eos_token_id": [1, 5]}',
    );
    using anew = createResources();
    assert.notEqual(await cellIn(anew, base), cells[0]);
  }));

Deno.test("createResources() opens once what cells share, and anew what differs in any of its options", () =>
  withInputs(async ({ folder, base }) => {
    const opened: unknown[] = [];
    using resources = createResources((model) => void opened.push(model));
    const { model, data, prompts, evalData } = resources;
    const first = await model(base);
    for (const same of [{ seed: 1 }, { lr: 1 }, { data: "none" }, { seqLen: 9 }]) {
      assert.equal(await model({ ...base, ...same }), first, Object.keys(same)[0]);
    }
    for (const other of [{ dtype: "bf16" }, { threads: 2 }, { device: "auto" }] as const) {
      assert.notEqual(await model({ ...base, ...other }), first, Object.keys(other)[0]);
    }
    assert.equal(opened.length, 4);
    assert.equal((await model({ ...base, dtype: "bf16" })).kernels.compute, "bf16");

    const rows = await data(base);
    assert.equal(await data({ ...base, neurons: 1, dtype: "bf16" }), rows);
    assert.equal(await evalData({ ...base, evalData: base.data as string, data: "none" }), rows);
    assert.equal(await evalData(base), null);
    const files = join(folder, "others.jsonl");
    const others: TrainSettings[] = [{ seqLen: 48 }, { lossOn: "all" }, { data: files }, { badRows: "skip" }];
    for (const other of others) assert.notEqual(await data({ ...base, ...other }), rows);

    const asked = await prompts(base, ["exact-match"]);
    assert.equal(await prompts({ ...base, neurons: 1 }, ["exact-match"]), asked);
    assert.notEqual(await prompts(base, ["f1"]), asked);
    assert.notEqual(await prompts({ ...base, system: "Be brief." }, ["exact-match"]), asked);
    const [question] = await prompts({ ...base, evalData: files }, ["exact-match"]);
    assert.deepEqual(
      question?.value.answers,
      [ROWS.at(-1)?.answer],
      "questions are those of the evaluation data",
    );
    await assert.rejects(model({}), /model is not set: which checkpoint is to be trained\?/);
    await assert.rejects(
      data({ model: base.model as string }),
      /data is not set: which rows are to be trained on\?/,
    );
  }));

Deno.test("scoringIdentity() tells scores whose rules have changed from what they were", () => {
  const scoring = resolveScoring({ metrics: ["exact-match", "f1", "gsm8k", "gsm8k-flexible"], limit: 3 });
  assert.deepEqual(scoring, {
    metrics: ["exact-match", "f1", "gsm8k", "gsm8k-flexible"],
    ...{ limit: 3, maxNewTokens: 32, stop: ["\n"], sequences: 64 },
  });
  assert.equal(resolveScoring({}).limit, null);
  assert.deepEqual(scoringIdentity(scoring, scoring.metrics ?? []), {
    metrics: [
      ...["exact-match", "f1", "gsm8k-strict of the lm-evaluation-harness"],
      "gsm8k-flexible of the lm-evaluation-harness",
    ],
    ...{ limit: 3, maxNewTokens: 32, stop: ["\n"] },
  });
});
