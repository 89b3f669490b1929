// SPDX-License-Identifier: Apache-2.0
/** Merging adapters into checkpoints of every layout, and what it refuses. */
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import assert from "node:assert/strict";
import { join } from "node:path";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import type { JsonObject } from "../../../lib/core/json.ts";
import { lockFolder } from "../../../lib/files/folders.ts";
import { forwardLogits } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { indexCheckpoint } from "../../../lib/tensor/checkpoint_index.ts";
import { readBytes, readTensor } from "../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../../lib/tensor/safetensors.ts";
import { writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import { loadAdapter, saveAdapter } from "../../../lib/train/adapters.ts";
import { mergeAdapter } from "../../../lib/merge/merge.ts";
import { compareMerged, comparisonBatch } from "../../../lib/merge/merge_check.ts";
import { assertSame, assertWithin, EPS_F32 } from "../../compare.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { withWatchedDisk } from "../../fixtures/watched_disk.ts";

/** An adapter whose every parameter was moved from its start, saved. */
async function stirredAdapter(dir: string, kind: string, options: JsonObject, folder: string): Promise<void> {
  using kernels = nativeKernels();
  using model = openCheckpoint(dir, kernels);
  const { adapter, problems } = resolveAdapter({ kind, options }, model.config);
  assert.deepEqual(problems, []);
  const params = adapter.create(kernels, model, 0);
  params.init(kernels, 42);
  params.parameters.forEach((parameter, i) => {
    if (parameter.kind !== "dense") return;
    const noise = kernels.floats(parameter.data.length);
    kernels.randomNormal(noise, 7, i, 0.05);
    noise.forEach((x, j) => parameter.data[j] = (parameter.data[j] as number) + x);
  });
  await saveAdapter(model, params, folder);
}

/** Calls the body with the folder of a base model, of a stirred adapter for it, and of a merged model to be. */
async function withAdapter(
  base: string,
  kind: string,
  options: JsonObject,
  body: (folders: { model: string; adapter: string; out: string; around: string }) => Promise<void>,
): Promise<void> {
  const around = await Deno.makeTempDir();
  try {
    const adapter = join(around, "adapter");
    await stirredAdapter(base, kind, options, adapter);
    await body({ model: base, adapter, out: join(around, "merged"), around });
  } finally {
    await Deno.remove(around, { recursive: true });
  }
}

/** Logits in f64, by the reference. */
async function exactLogits(dir: string, adapter: string | null): Promise<Float64Array> {
  const kernels = referenceKernels();
  using base = openCheckpoint(dir, kernels);
  const { model, hooks } = attachAdapter(base, adapter === null ? null : await loadAdapter(base, adapter));
  return (await forwardLogits(model, comparisonBatch(base), hooks)).data as Float64Array;
}

const tensorsOf = (dir: string) => indexCheckpoint(dir, []).tensors;
const namesIn = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).sort();
const configOf = (dir: string) => JSON.parse(Deno.readTextFileSync(join(dir, "config.json")));

const CASES: readonly { base: string; kind: string; options: JsonObject; title: string }[] = [
  { base: "qwen2_tied", kind: "full", options: {}, title: "sharded with an index, tied head" },
  { base: "llama_linear", kind: "full", options: {}, title: "one file, a head of its own" },
  { base: "qwen2_tied", kind: "lora", options: { rank: 3 }, title: "sharded with an index, every site" },
  {
    base: "mistral_window",
    kind: "lora",
    options: { rank: 2, useRslora: true, targets: ["o", "up"] },
    title: "some sites",
  },
  { base: "llama3_tied", kind: "parallel", options: { neurons: 5 }, title: "without biases" },
  { base: "llama_biases", kind: "parallel", options: { neurons: 3 }, title: "with biases" },
  { base: "llama_own_head", kind: "full", options: {}, title: "said to be tied, another head stored" },
  {
    base: "llama_own_head",
    kind: "lora",
    options: { rank: 3 },
    title: "said to be tied, another head stored",
  },
  { base: "qwen3_head_alone", kind: "full", options: {}, title: "tied under the head's name" },
  { base: "qwen2_base_names", kind: "full", options: {}, title: "names of a base model, mixed types" },
  { base: "llama_longrope", kind: "parallel", options: { neurons: 3 }, title: "longrope" },
];

for (const { base, kind, options, title } of CASES) {
  Deno.test(`mergeAdapter() of ${kind} into ${base} (${title}) in f32 gives the f64 logits of the two`, () =>
    withAdapter(modelFixture(base).dir, kind, options, async ({ model, adapter, out }) => {
      const report = await mergeAdapter({ model, adapter, out, dtype: "f32" });
      assert.ok(report.comparison.agrees);
      const expected = await exactLogits(model, adapter);
      const scale = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      // Weights are rounded to f32 once: a relative 2^-24 each, of random sign, through every layer.
      assertWithin("logits", await exactLogits(out, null), expected, 2 ** -20 * scale);
      const unmerged = await exactLogits(model, null);
      assert.ok(
        unmerged.some((x, i) => Math.abs(x - (expected[i] as number)) > 0.01),
        "the adapter does something",
      );
      assert.equal(configOf(out).dtype ?? configOf(out).torch_dtype, "float32");
      const left = namesIn(model).filter((name) => name !== "expected.safetensors");
      assert.deepEqual(namesIn(out), left);
    }));
}

for (const kind of ["full", "lora"]) {
  Deno.test(`mergeAdapter() of ${kind} keeps the dtype of a 16-bit base and its tensors, within the bf16 rule`, () =>
    withAdapter(modelFixture("mistral_bf16").dir, kind, {}, async ({ model, adapter, out }) => {
      const { comparison } = await mergeAdapter({ model, adapter, out });
      assert.match(comparison.rule, /bf16/);
      assert.deepEqual(configOf(out), configOf(model));
      const [before, after] = [tensorsOf(model), tensorsOf(out)];
      assert.deepEqual([...after.keys()].sort(), [...before.keys()].sort());
      for (const [name, { dtype, shape }] of before) {
        assert.deepEqual([after.get(name)?.dtype, after.get(name)?.shape], [dtype, shape], name);
      }
    }));
}

Deno.test("mergeAdapter() of parallel changes no tensor but those of the feed-forward sublayer, and the configuration", () =>
  withAdapter(
    modelFixture("llama3_tied").dir,
    "parallel",
    { neurons: 5 },
    async ({ model, adapter, out }) => {
      await mergeAdapter({ model, adapter, out });
      const [before, after] = [tensorsOf(model), tensorsOf(out)];
      for (const [name, entry] of before) {
        if (name.includes(".mlp.")) continue;
        assertSame(readTensor(after.get(name) as TensorEntry, "f32"), readTensor(entry, "f32"), name);
      }
      const [base, merged] = [configOf(model), configOf(out)];
      assert.equal(merged.intermediate_size, base.intermediate_size + 5);
      assert.deepEqual({ ...merged, intermediate_size: 0, mlp_bias: 0 }, {
        ...base,
        intermediate_size: 0,
        mlp_bias: 0,
      });
      assert.equal(merged.mlp_bias, true);
    },
  ));

Deno.test("mergeAdapter() leaves out a stored copy of a tied head, which would be stale", async () => {
  const base = await Deno.makeTempDir();
  try {
    const { dir } = modelFixture("llama3_tied");
    await Deno.copyFile(join(dir, "config.json"), join(base, "config.json"));
    const entries = [...readSafetensorsHeader(join(dir, "model.safetensors")).tensors.values()];
    const embedding = entries.find(({ name }) => name === "model.embed_tokens.weight") as TensorEntry;
    const tensors = [
      ...entries.map((entry) => [entry.name, entry] as const),
      ["lm_head.weight", embedding] as const,
    ]
      .map(([name, entry]) => ({
        name,
        shape: entry.shape,
        dtype: "f32" as const,
        data: readTensor(entry, "f32"),
      }));
    await writeSafetensors(join(base, "model.safetensors"), tensors);
    await withAdapter(base, "full", {}, async ({ model, adapter, out }) => {
      await mergeAdapter({ model, adapter, out });
      assert.ok(tensorsOf(model).has("lm_head.weight"));
      assert.ok(!tensorsOf(out).has("lm_head.weight"));
    });
  } finally {
    await Deno.remove(base, { recursive: true });
  }
});

Deno.test("mergeAdapter() keeps a head that differs from the embedding, and says in config.json that it is not tied", () =>
  withAdapter(modelFixture("llama_own_head").dir, "lora", { rank: 3 }, async ({ model, adapter, out }) => {
    const { warnings } = await mergeAdapter({ model, adapter, out });
    assert.match(warnings.join(), /"lm_head\.weight" differs/);
    assert.deepEqual([configOf(model).tie_word_embeddings, configOf(out).tie_word_embeddings], [true, false]);
    const head = (dir: string) => readTensor(tensorsOf(dir).get("lm_head.weight") as TensorEntry, "f32");
    assertSame(head(out), head(model));
  }));

Deno.test("mergeAdapter() writes the names of the whole model, types as they were, what stands beside it, and no index for one file", () =>
  withAdapter(modelFixture("qwen2_base_names").dir, "full", {}, async ({ adapter, out, around }) => {
    const model = join(around, "base");
    await Deno.mkdir(join(model, "weights"), { recursive: true });
    const { dir } = modelFixture("qwen2_base_names");
    await Deno.copyFile(join(dir, "config.json"), join(model, "config.json"));
    const entries = [...readSafetensorsHeader(join(dir, "model.safetensors")).tensors.values()];
    const beside = { name: "v_head.mask", dtype: "bool", shape: [3], data: Uint8Array.of(1, 0, 1) } as const;
    await writeSafetensors(join(model, "weights", "all.safetensors"), [
      ...entries.map((entry) => ({ ...entry, data: readBytes(entry) })),
      beside,
    ]);
    const weight_map = Object.fromEntries(entries.map(({ name }) => [name, "./weights/all.safetensors"]));
    await Deno.writeTextFile(join(model, "model.safetensors.index.json"), JSON.stringify({ weight_map }));
    await mergeAdapter({ model, adapter, out });
    assert.deepEqual(namesIn(out), ["config.json", "model.safetensors"]);
    const merged = tensorsOf(out);
    assertSame(readBytes(merged.get("v_head.mask") as TensorEntry), beside.data);
    for (const { name, dtype } of entries) assert.equal(merged.get(`model.${name}`)?.dtype, dtype, name);
    assert.equal(merged.size, entries.length + 1);
  }));

const REFUSED: readonly { base: string; kind: string; options: JsonObject; reason: RegExp }[] = [
  {
    base: "llama3_tied",
    kind: "sparse",
    options: { neurons: 8 },
    reason: /each token chooses neurons of its own/,
  },
  {
    base: "llama3_tied",
    kind: "sparse",
    options: { neurons: 8, scope: "union" },
    reason: /by the tokens beside it/,
  },
  { base: "qwen2_tied", kind: "parallel", options: { neurons: 4 }, reason: /this qwen2 has neither/ },
];

for (const { base, kind, options, reason } of REFUSED) {
  Deno.test(`mergeAdapter() refuses ${kind} ${JSON.stringify(options)} on ${base} with the reason`, () =>
    withAdapter(modelFixture(base).dir, kind, options, async ({ model, adapter, out, around }) => {
      await assert.rejects(mergeAdapter({ model, adapter, out }), reason);
      assert.deepEqual(namesIn(around), ["adapter"]);
    }));
}

Deno.test("mergeAdapter() refuses a taken folder, and leaves nothing behind when a value does not fit the type", () =>
  withAdapter(
    modelFixture("llama3_tied").dir,
    "parallel",
    { neurons: 2 },
    async ({ model, adapter, out, around }) => {
      await Deno.mkdir(out);
      await Deno.writeTextFile(join(out, "mine.txt"), "kept");
      await assert.rejects(mergeAdapter({ model, adapter, out }), /is not empty/);
      assert.deepEqual(namesIn(out), ["mine.txt"]);
      const free = join(around, "free");
      await assert.rejects(
        mergeAdapter({ model, adapter, out: free, dtype: "f16" }),
        /gate_proj.* f16 can hold/,
      );
      assert.deepEqual(namesIn(around), ["adapter", "merged"]);
    },
  ));

Deno.test("mergeAdapter() removes what a killed merge into the same folder left, and nothing that is being written", () =>
  withAdapter(
    modelFixture("llama3_tied").dir,
    "lora",
    { rank: 1 },
    async ({ model, adapter, out, around }) => {
      const part = (name: string, digit: number) =>
        `.${name}.${digit}1234567-89ab-4def-8123-456789abcdef.part`;
      const [left, written, foreign] = [part("merged", 0), part("merged", 1), part("other", 2)];
      for (const name of [left, written, foreign]) {
        await Deno.mkdir(join(around, name));
        await Deno.writeTextFile(join(around, name, "config.json"), "{}");
      }
      using other = await lockFolder(join(around, written)); // as a merge in another process does
      assert(other !== null);
      const warnings: string[] = [];
      await mergeAdapter({ model, adapter, out, onWarning: (text) => void warnings.push(text) });
      assert.deepEqual(warnings, [`removed 1 left-over of a killed merge: ${join(around, left)}`]);
      assert.deepEqual(namesIn(around), [written, foreign, "adapter", "merged"].sort());
    },
  ));

Deno.test("compareMerged() tells a model that is not the merged one, in f32 and in bf16", async () => {
  for (const base of ["llama3_tied", "mistral_bf16"]) {
    await withAdapter(modelFixture(base).dir, "full", {}, async ({ model, adapter }) => {
      const found = await compareMerged({ model, adapter }, model);
      assert.equal(found.agrees, false);
      assert.ok(found.rmsDifference > 2 * found.rmsBound, `${base}: ${JSON.stringify(found)}`);
    });
  }
});

/** Logits of base and adapter on native kernels. */
async function nativeLogits(dir: string, adapter: string, compute: "f32" | "bf16"): Promise<number[]> {
  using kernels = nativeKernels({ compute });
  using base = openCheckpoint(dir, kernels);
  const { model, hooks } = attachAdapter(base, await loadAdapter(base, adapter));
  return [...(await forwardLogits(model, comparisonBatch(base), hooks)).data];
}

Deno.test("compareMerged() allows what its rule says: roundings of f32, or a multiple of what bf16 products change", async () => {
  const largest = (logits: readonly number[]) => Math.max(...logits.map(Math.abs));
  await withAdapter(modelFixture("llama3_tied").dir, "full", {}, async ({ model, adapter, out }) => {
    const { comparison } = await mergeAdapter({ model, adapter, out });
    const logits = await nativeLogits(model, adapter, "f32");
    assert.equal(comparison.largestLogit, largest(logits));
    assert.equal(comparison.count, logits.length);
    assertWithin("bound", [comparison.bound], [64 * EPS_F32 * 3 * largest(logits)], 1e-12);
    assert.equal(comparison.rmsBound, comparison.bound);
  });
  await withAdapter(modelFixture("mistral_bf16").dir, "full", {}, async ({ model, adapter, out }) => {
    const { comparison } = await mergeAdapter({ model, adapter, out });
    const [exact, rounded] = [
      await nativeLogits(model, adapter, "f32"),
      await nativeLogits(model, adapter, "bf16"),
    ];
    const squares = rounded.reduce((sum, x, i) => sum + (x - (exact[i] as number)) ** 2, 0);
    const rms = Math.sqrt(squares / exact.length);
    assertWithin("bounds", [comparison.bound, comparison.rmsBound], [32 * rms, 2 * rms], 1e-9 * rms);
    assert.ok(comparison.agrees && comparison.rmsDifference > 0);
  });
});

Deno.test("mergeAdapter() has all of a merged model on the disk before it gets its name", () =>
  withAdapter(
    modelFixture("llama3_tied").dir,
    "lora",
    { rank: 1 },
    ({ model, adapter, around }) =>
      withWatchedDisk(async (disk) => {
        const out = join(around, "to", "merged");
        disk.settle();
        await mergeAdapter({ model, adapter, out });
        assert.deepEqual([disk.lost(around), disk.early], [[], []]);
        assert.ok(namesIn(out).includes("generation_config.json"));
      }),
  ));

Deno.test("mergeAdapter() writes nothing when the merged model is another than base and adapter", () =>
  withAdapter(
    modelFixture("llama3_tied").dir,
    "lora",
    { rank: 1 },
    async ({ model, adapter, out, around }) => {
      const { copyFile } = Deno;
      Deno.copyFile = async (from, to) => {
        await copyFile(from, to);
        // The last file is there: what was merged goes bad on the disk.
        const weights = join(String(to), "..", "model.safetensors");
        const bytes = await Deno.readFile(weights);
        await Deno.writeFile(weights, bytes.fill(0x3c, -4000));
      };
      try {
        await assert.rejects(
          mergeAdapter({ model, adapter, out }),
          /^Error: The merged model's logits differ from those of base and adapter by up to .*\/merged was not written$/,
        );
      } finally {
        Deno.copyFile = copyFile;
      }
      assert.deepEqual(namesIn(around), ["adapter"]);
    },
  ));
