// SPDX-License-Identifier: Apache-2.0
/** A family that nobody knows: one file and one line in the registry, and everything that reads a model knows it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { describeModel } from "../../../../lib/models/described.ts";
import { type DecoderConfig, readDecoderConfig } from "../../../../lib/models/families/decoder_config.ts";
import { forwardLogits } from "../../../../lib/models/engine/pass.ts";
import {
  bareDecoderModules,
  buildDecoder,
  type DecoderNames,
} from "../../../../lib/models/families/decoder.ts";
import type { Family } from "../../../../lib/models/families/family.ts";
import { FAMILIES } from "../../../../lib/models/families/registry.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { allTensors } from "../../../../lib/models/part_tensors.ts";
import { noWindows } from "../../../../lib/models/families/windows.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import type { Parameter } from "../../../../lib/optim/parameters.ts";
import { loadAdapter, saveAdapter } from "../../../../lib/train/adapters.ts";
import { predictMemory } from "../../../../lib/predict/memory.ts";
import { plan } from "../../../../lib/train/plan.ts";
import { sparse } from "../../../../lib/methods/methods.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../../lib/tensor/safetensors.ts";
import { writeSafetensors } from "../../../../lib/tensor/write_safetensors.ts";
import { assertSame } from "../../../compare.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { smallOptions } from "../../train/small_run.ts";

// ---- what would be lib/models/families/made_up.ts ----
const NAMES: DecoderNames = {
  embedding: "transformer.wte",
  layers: "transformer.h",
  finalNorm: "transformer.ln_f",
  head: "output",
  classifier: "verdict",
  attention: "attn",
  ffn: "ff",
  attentionNorms: { input: "ln_1", output: null },
  ffnNorms: { input: "ln_2", output: null },
  q: "wq",
  k: "wk",
  v: "wv",
  o: "wo",
  qNorm: "ln_q",
  kNorm: "ln_k",
  gate: "w1",
  up: "w3",
  down: "w2",
  rotary: "transformer.rope",
  activation: "act",
};

const madeUp: Family<DecoderConfig> = {
  modelType: "made_up",
  heads: { MadeUpForCausalLM: "lm" },
  fieldNames: {
    hidden_size: "n_embd",
    intermediate_size: "n_inner",
    num_hidden_layers: "n_layer",
    num_attention_heads: "n_head",
    rms_norm_eps: "norm_epsilon",
  },
  readConfig(fields) {
    const shared = readDecoderConfig(fields, madeUp, {
      numKeyValueHeads: null,
      headDim: null,
      maxPositionEmbeddings: 512,
      bosTokenId: 1,
      eosTokenId: 2,
    });
    return {
      ...shared,
      slidingWindows: noWindows(fields, shared.numHiddenLayers, shared.maxPositionEmbeddings),
      attentionBias: { qkv: true, o: true },
      mlpBias: true,
    };
  },
  build: (config, take) => buildDecoder(config, take, { names: NAMES }),
  bareModules: (config) => bareDecoderModules(config, NAMES),
};
// ---- and what would be its line in the registry ----
(FAMILIES as Map<string, Family>).set(madeUp.modelType, madeUp);

/** Parts of names, llama's and ours. */
const RENAMED: readonly (readonly [string, string])[] = [
  ["model.embed_tokens", NAMES.embedding],
  ["model.layers", NAMES.layers],
  ["model.norm", NAMES.finalNorm],
  ["lm_head", NAMES.head],
  ["input_layernorm", "ln_1"],
  ["self_attn", NAMES.attention],
  ["post_attention_layernorm", "ln_2"],
  ["mlp", NAMES.ffn],
  ...(["q", "k", "v", "o", "gate", "up", "down"] as const).map((site) =>
    [`${site}_proj`, NAMES[site]] as const
  ),
];

const renamed = (name: string): string => RENAMED.reduce((text, [from, to]) => text.replace(from, to), name);

/** Writes a llama with biases everywhere as a model of the family. */
async function writeMadeUp(
  folder: string,
  change: (fields: Record<string, unknown>) => Record<string, unknown> = (fields) => fields,
): Promise<void> {
  const { dir } = modelFixture("llama_biases");
  const { hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, rms_norm_eps, ...fields } =
    JSON.parse(
      await Deno.readTextFile(join(dir, "config.json")),
    );
  const { attention_bias: _, mlp_bias: __, ...others } = fields;
  const own = {
    ...others,
    model_type: "made_up",
    architectures: ["MadeUpForCausalLM"],
    n_embd: hidden_size,
    n_inner: intermediate_size,
    n_layer: num_hidden_layers,
    n_head: num_attention_heads,
    norm_epsilon: rms_norm_eps,
  };
  await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(change(own)));
  const entries = [...readSafetensorsHeader(join(dir, "model.safetensors")).tensors.values()];
  await writeSafetensors(
    join(folder, "model.safetensors"),
    entries.map((entry) => ({
      ...entry,
      name: renamed(entry.name),
      dtype: "f32",
      data: readTensor(entry, "f32"),
    })),
  );
}

Deno.test("a model of a made-up family computes what the same weights do by the names of a known one", async () => {
  const { dir, batch } = modelFixture("llama_biases");
  using known = openCheckpoint(dir, referenceKernels());
  await withFolder(async (folder) => {
    await writeMadeUp(folder);
    using model = openCheckpoint(folder, referenceKernels());
    assert.deepEqual(model.warnings, []);
    assert.deepEqual(
      allTensors(model.parts).map(({ name }) => name),
      allTensors(known.parts).map(({ name }) => renamed(name)),
    );
    assertSame(await forwardLogits(model, batch, {}), await forwardLogits(known, batch, {}));
  });
});

Deno.test("loading a made-up family's model says what is wrong in its own words, and takes a base model's names", async () => {
  await withFolder(async (folder) => {
    await writeMadeUp(folder, ({ n_embd: _, ...fields }) => ({ ...fields, norm_epsilon: -1 }));
    assert.throws(() => openCheckpoint(folder, referenceKernels()), (error: unknown) => {
      assert.match(String(error), /Field "n_embd" is missing/);
      assert.match(String(error), /Field "norm_epsilon" is -1/);
      assert.doesNotMatch(String(error), /hidden_size|rms_norm_eps/);
      return true;
    });
    await writeMadeUp(folder);
    const path = join(folder, "model.safetensors");
    const entries = [...readSafetensorsHeader(path).tensors.values()];
    const without = entries.map((entry) => ({
      ...entry,
      name: entry.name.replace(/^transformer\./, ""),
      dtype: "f32" as const,
      data: readTensor(entry, "f32"),
    }));
    const surplus = (name: string) => ({
      name,
      dtype: "f32" as const,
      shape: [1],
      data: new Float32Array(1),
    });
    await writeSafetensors(path, [...without, surplus("v_head.weight")]);
    using model = openCheckpoint(folder, referenceKernels());
    assert.match(model.warnings.join(), /v_head.weight/);
    await writeSafetensors(path, [...without, surplus("h.7.attn.wq.weight")]);
    assert.throws(() => openCheckpoint(folder, referenceKernels()), /"h.7.attn.wq.weight" .*is unknown/);
  });
});

Deno.test("a run on a made-up family's model is planned, and its adapter's tensors are named after its modules", async () => {
  await withFolder(async (folder) => {
    await writeMadeUp(folder);
    using model = describeModel(folder, referenceKernels());
    const run = plan(model, smallOptions({ method: sparse(), steps: 1 }));
    const names = run.adapterKind.sizes(model, 1).parameters.map(({ name }) => name);
    assert.equal(names[0], "base_model.model.transformer.h.0.ff.meft.router");
    assert.equal(names.length, 3 * model.config.numHiddenLayers);
    using known = describeModel(modelFixture("llama_biases").dir, referenceKernels());
    const alike = plan(known, smallOptions({ method: sparse(), steps: 1 }));
    assertSame(await predictMemory(run), await predictMemory(alike));
  });
});

Deno.test("a LoRA on a made-up family's model is saved as PEFT would, and read from the bare model's names too", async () => {
  await withFolder(async (folder) => {
    await writeMadeUp(folder);
    using model = openCheckpoint(folder, referenceKernels());
    const { kernels: k } = model;
    const { adapter, problems } = resolveAdapter(
      { kind: "lora", options: { targets: ["down", "q"] } },
      model.config,
    );
    assert.deepEqual(problems, []);
    const params = adapter.create(k, model, 0);
    params.init(k, 7);
    const saved = join(folder, "adapter");
    await saveAdapter(model, params, saved);
    const fields = JSON.parse(await Deno.readTextFile(join(saved, "adapter_config.json")));
    assert.deepEqual(fields.target_modules, ["wq", "w2"]);
    const path = join(saved, "adapter_model.safetensors");
    const entries = [...readSafetensorsHeader(path).tensors.values()];
    assert.deepEqual(entries.slice(0, 3).map(({ name }) => name), [
      "base_model.model.transformer.h.0.attn.wq.lora_A.weight",
      "base_model.model.transformer.h.0.attn.wq.lora_B.weight",
      "base_model.model.transformer.h.0.ff.w2.lora_A.weight",
    ]);
    const changes = [...params.merge!(k)].map(({ name }) => name);
    assert.deepEqual(changes.slice(0, 2), ["transformer.h.0.attn.wq.weight", "transformer.h.0.ff.w2.weight"]);
    assertSame(values((await loadAdapter(model, saved)).parameters), values(params.parameters));
    const bare = entries.map((entry) => ({
      ...entry,
      name: entry.name.replace("transformer.", ""),
      dtype: "f64" as const,
      data: readTensor(entry, "f64"),
    }));
    await writeSafetensors(path, bare);
    assertSame(values((await loadAdapter(model, saved)).parameters), values(params.parameters));
    const wrong = resolveAdapter({ kind: "lora", options: { targets: ["q_proj"] } }, model.config);
    assert.match(wrong.problems.join(), /names such as wq or h\.0\.attn\.wq/);
  });
});

function values(parameters: readonly Parameter[]): Float32Array[] {
  return parameters.map((parameter) => Float32Array.from(parameter.kind === "dense" ? parameter.data : []));
}

Deno.test("a dense adapter is merged into a made-up family's model by its own names of fields and tensors", async () => {
  await withFolder(async (folder) => {
    await writeMadeUp(folder);
    using model = openCheckpoint(folder, referenceKernels());
    const { adapter } = resolveAdapter({ kind: "parallel", options: { neurons: 3 } }, model.config);
    assert.equal(adapter.mergeRefusal, undefined);
    const params = adapter.create(model.kernels, model, 0);
    assert.deepEqual(params.mergedConfig, { n_inner: (model.config as DecoderConfig).intermediateSize + 3 });
    assert.ok([...params.merge!(model.kernels)].some(({ name }) => name === "transformer.h.0.ff.w3.bias"));
  });
});
