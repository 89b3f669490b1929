// SPDX-License-Identifier: Apache-2.0
/** Tokens that a model lacked: trained, saved with their tables and tokenizer, and run and merged from that alone. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import type { AdapterParams } from "../../../lib/adapters/adapter.ts";
import { loadData } from "../../../lib/data/load_data.ts";
import { readTokenizerFiles, type TokenizerFiles } from "../../../lib/data/tokenizer_files.ts";
import { mergeAdapter } from "../../../lib/merge/merge.ts";
import { full, lora, type Method, parallel, tokens } from "../../../lib/methods/methods.ts";
import { forwardLogits } from "../../../lib/models/engine/pass.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { loadAdapter, openAdapter } from "../../../lib/train/adapters.ts";
import { train } from "../../../lib/train/loop.ts";
import { loadModel, type OpenModel, type OpenModelOptions } from "../../../lib/train/open_model.ts";
import { plan, type Run, runIdentity } from "../../../lib/train/plan.ts";
import { assertSame, assertWithin } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { parameterBytes } from "./small_run.ts";

const DEMO = fileURLToPath(new URL("../../../notebooks/demo/model", import.meta.url));
const ADDED = { addTokens: ["<mark>"], addSpecialTokens: ["<obj>"] };
const OWN_ROWS = 1024;
const ROWS = [
  { prompt: "Say <mark> twice.", completion: " <mark> <mark>" },
  { prompt: "What is <obj>?", completion: " <obj> is a mark" },
];

/** A model on kernels of one thread, in f32. */
async function opened(options: OpenModelOptions, dir = DEMO) {
  const owned = new DisposableStack();
  const kernels = owned.use(nativeKernels({ threads: 1, compute: "f32" }));
  const model = owned.use(await loadModel(dir, { ...options, kernels }));
  return { model, kernels, [Symbol.dispose]: () => owned.dispose() };
}

async function planned(
  model: OpenModel,
  method: Method,
  folder: string,
): Promise<{ run: Run; params: AdapterParams }> {
  const path = join(folder, "rows.jsonl");
  await Deno.writeTextFile(path, ROWS.map((row) => JSON.stringify(row)).join("\n"));
  const data = await loadData(path, model, { seqLen: 24, cache: false });
  const run = plan(model, {
    method,
    optimizer: adamw({ lr: 0.01 }),
    batch: { size: 2, micro: 1, seqLen: 24 },
    steps: 2,
    out: join(folder, "run"),
  });
  const training = train(run, data);
  for await (const _ of training);
  assert.ok(training.adapter);
  return { run, params: training.adapter };
}

async function logitsOf(model: OpenModel, params: AdapterParams | null): Promise<Float32Array> {
  const ids = Int32Array.from(await model.tokenizer.encode("Say <mark> and <obj>"));
  const [positions, starts] = [Int32Array.from(ids.keys()), Int32Array.of(0, ids.length)];
  const targets = { kind: "tokens", ids: new Int32Array(ids.length).fill(-1) } as const;
  const attached = attachAdapter(model, params);
  const batch = { ids, positions, starts, targets, targetCount: 0 };
  return Float32Array.from((await forwardLogits(attached.model, batch, attached.hooks)).data);
}

const METHODS: Readonly<Record<string, Method>> = {
  lora: lora({ rank: 2, targets: ["q"] }),
  "lora with the embedding": lora({
    rank: 1,
    targets: ["q"],
    modulesToSave: ["embed_tokens"],
    ensureWeightTying: true,
  }),
  tokens: tokens({ trainableTokenIndices: [7, OWN_ROWS + 1] }),
  parallel: parallel({ neurons: 3 }),
  full: full(),
};

for (const [name, method] of Object.entries(METHODS)) {
  Deno.test(`tokens that ${name} was taught are there when its adapter is opened with the model, and when it is merged`, () =>
    withFolder(async (folder) => {
      using first = await opened({ ...ADDED, padVocabularyTo: 8 });
      assert.deepEqual(first.model.vocabulary?.added, [OWN_ROWS, OWN_ROWS + 1]);
      assert.equal(first.model.config.vocabSize, 1032);
      const { run, params } = await planned(first.model, method, folder);
      assert.equal(runIdentity(run)["vocabulary"], 1032);
      const expected = await logitsOf(first.model, params);
      const adapter = join(folder, "run", "adapter");
      const saved = await openAdapter(adapter);
      using again = await opened({ adapter: saved });
      assert.equal(again.model.config.vocabSize, 1032);
      assert.equal(again.model.tokenizer.identity, first.model.tokenizer.identity);
      const loaded = await loadAdapter(again.model, adapter);
      assertSame(parameterBytes(loaded.parameters), parameterBytes(params.parameters));
      assertSame(await logitsOf(again.model, loaded), expected);
      using without = await opened({});
      await assert.rejects(
        loadAdapter(without.model, adapter),
        /was trained with a vocabulary of 1032 tokens, the model has 1024: open/,
      );
      assert.throws(
        () => plan(without.model, { start: saved, batch: { seqLen: 8 }, steps: 1 }),
        /vocabulary of 1032 tokens/,
      );

      const merged = join(folder, "merged");
      await mergeAdapter({ adapter, model: DEMO, out: merged, dtype: "f32", threads: 1 });
      using whole = await opened({}, merged);
      assert.equal(whole.model.config.vocabSize, 1032);
      assert.equal(await whole.model.tokenizer.encode("<obj>").then(([id]) => id), OWN_ROWS + 1);
      assertWithin(
        "logits",
        Float64Array.from(await logitsOf(whole.model, null)),
        Float64Array.from(expected),
        1e-3,
      );
    }));
}

Deno.test("rows of added tokens are trained beside any adapter, unless it says what it trains of the tables", async () => {
  using one = await opened(ADDED);
  const { model } = one;
  const rowsOf = (method: Method) =>
    plan(model, { method, steps: 1 }).adapterKind.sizes(model, 0).parameters
      .filter(({ name }) => name.includes("token_adapter")).map(({ name, shape }) => [name, shape]);
  const rows = ["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta", [2, 192]];
  for (const method of [lora({ rank: 1 }), parallel({ neurons: 2 }), tokens({})]) {
    assert.deepEqual(rowsOf(method), [rows]);
  }
  assert.deepEqual(rowsOf(lora({ trainableTokenIndices: [3] })), [[rows[0], [1, 192]]]);
  const embedding = { modulesToSave: ["embed_tokens"], ensureWeightTying: true };
  for (const method of [lora({ ...embedding }), lora({ modulesToSave: ["lm_head"] }), full()]) {
    assert.deepEqual(rowsOf(method), []);
  }
});

Deno.test("a tokenizer with more tokens than the tables have rows is refused, or fitted where that is asked for", () =>
  withFolder(async (folder) => {
    const files: TokenizerFiles = await readTokenizerFiles(DEMO);
    const json = JSON.parse(files.tokenizer);
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };
    json.added_tokens.push({ id: OWN_ROWS, content: "<new>", ...flags });
    for (const name of ["config.json", "model.safetensors", "tokenizer_config.json"]) {
      await Deno.copyFile(join(DEMO, name), join(folder, name));
    }
    await Deno.writeTextFile(join(folder, "tokenizer.json"), JSON.stringify(json));
    await assert.rejects(opened({}, folder), /has ids up to 1024, but the model's vocab_size is 1024/);
    using fitted = await opened({ fitVocabulary: true }, folder);
    assert.deepEqual([fitted.model.config.vocabSize, fitted.model.vocabulary?.added], [OWN_ROWS + 1, [
      OWN_ROWS,
    ]]);
    assert.ok(fitted.model.vocabulary?.tokenizer, "saved beside adapters");
  }));

Deno.test("a larger vocabulary takes the memory that is predicted", () =>
  withFolder(async (folder) => {
    using one = await opened({ ...ADDED, padVocabularyTo: 64 });
    const { run } = await planned(one.model, lora({ rank: 2, targets: ["q"] }), folder);
    const { bytes } = await predictMemory(run);
    for (const name of ["weights", "parameters", "optimizer", "gradients"] as const) {
      assert.equal(one.kernels.ledger.peak.get(name), bytes[name], name);
    }
  }));
