// SPDX-License-Identifier: Apache-2.0
/** What is trained whole beside a LoRA (a head, modules, biases), as PEFT saves it; and beside our own adapters. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { attachAdapter } from "../../../../lib/adapters/attach.ts";
import { openAdapterFiles } from "../../../../lib/adapters/files/adapter_files.ts";
import { readAdapterInto } from "../../../../lib/adapters/files/saved_adapter.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import type { LoraOptions } from "../../../../lib/adapters/lora/options.ts";
import type { Json, JsonObject } from "../../../../lib/core/json.ts";
import type { Batch } from "../../../../lib/data/batch.ts";
import { forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import type { HeadConfig } from "../../../../lib/models/heads/head_config.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { withWeights } from "../../../../lib/models/trainable.ts";
import { lora, parallel, sparse } from "../../../../lib/methods/methods.ts";
import { liveGradient } from "../../../../lib/optim/parameters.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readFloatsInto } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../../../lib/tensor/safetensors.ts";
import { numel } from "../../../../lib/tensor/tensor.ts";
import { loadAdapter, openingOf, saveAdapter } from "../../../../lib/train/adapters.ts";
import { plan } from "../../../../lib/train/plan.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { targetsOf } from "../../../fixtures/checkpoint_fixture.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { type Oracle, readOracle } from "../../../fixtures/oracle.ts";
import { parameterBytes } from "../../train/small_run.ts";

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..", "fixtures", "lora_modules");
const BOUND = 1e-9;
const LABELS: HeadConfig = { kind: "classification", gives: "classes", labels: ["no", "yes"] };

function valuesOf(entry: TensorEntry): Float64Array {
  const values = new Float64Array(numel(entry.shape));
  readFloatsInto(values, entry);
  return values;
}

interface Fixture extends Oracle {
  readonly folder: string;
  readonly dir: string;
  readonly batch: Batch;
}

function fixture(name: string): Fixture {
  const folder = join(FOLDER, name);
  const { base_model_name_or_path: base } = JSON.parse(
    Deno.readTextFileSync(join(folder, "adapter_config.json")),
  );
  const oracle = readOracle(folder);
  const { dir, batch } = modelFixture(base);
  const found = { ...oracle, folder, dir, batch };
  if (!oracle.has("labels")) return found;
  return { ...found, batch: { ...batch, targets: targetsOf(oracle), targetCount: batch.starts.length - 1 } };
}

const FIXTURES = [...Deno.readDirSync(FOLDER)].map(({ name }) => name).sort();

for (const name of FIXTURES) {
  Deno.test(`${name}, saved by PEFT, gives torch's outputs and gradients, and is saved again with the same tensors`, async () => {
    const { folder, dir, batch, expected } = fixture(name);
    const k = referenceKernels();
    const saved = await openAdapterFiles(folder);
    using base = openCheckpoint(dir, k, openingOf(saved));
    const params = resolveAdapter(saved.spec, base.config).adapter.create(k, base, batch.ids.length);
    readAdapterInto(base, saved, params);
    const { model, hooks } = attachAdapter(base, params, k);
    assertWithin("logits", (await forwardLogits(model, batch, hooks)).data, expected("logits"), BOUND);
    await lossAndGradients(model, batch, hooks, { activations: "store", lossScale: 1 / batch.targetCount });
    for (const parameter of params.parameters) {
      // Rows that PEFT trains alone lie in no module of their own.
      const theirs = saved.spec.kind === "tokens"
        ? parameter.name.replace(".token_adapter", "")
        : parameter.name;
      assertWithin(theirs, liveGradient(parameter), expected(`grad.${theirs}`), BOUND);
    }
    await withFolder(async (out) => {
      await saveAdapter(base, params, out);
      const [theirs, ours] = [folder, out].map((place) =>
        readSafetensorsHeader(join(place, "adapter_model.safetensors"))
      );
      // PEFT saves what is trained whole of a resized table twice more, and reads neither.
      const read = [...theirs!.tensors].filter(([tensor]) =>
        !/\.(modules_to_save|original_module)\./.test(tensor)
      );
      assert.deepEqual([...ours!.tensors.keys()].sort(), read.map(([tensor]) => tensor).sort());
      for (const [tensor, entry] of read) {
        const own = ours!.tensors.get(tensor) as TensorEntry;
        assert.deepEqual(own.shape, entry.shape);
        assertSame(valuesOf(own), valuesOf(entry));
      }
      const fields = JSON.parse(await Deno.readTextFile(join(out, "adapter_config.json")));
      const given = JSON.parse(await Deno.readTextFile(join(folder, "adapter_config.json")));
      for (
        const field of ["task_type", "bias", "peft_type", "r", "token_indices", "trainable_token_indices"]
      ) {
        assert.deepEqual(fields[field] ?? null, given[field] ?? null, field);
      }
      assert.equal(fields.ensure_weight_tying ?? false, given.ensure_weight_tying ?? false);
      const saved = given.modules_to_save ?? [];
      assert.ok((fields.modules_to_save ?? []).every((module: string) => saved.includes(module)));
      const again = await loadAdapter(base, out);
      assertSame(parameterBytes(again.parameters), parameterBytes(params.parameters));
    });
  });

  Deno.test(`${name}, saved by PEFT and merged, gives the same outputs`, async () => {
    const { folder, dir, batch, expected } = fixture(name);
    const k = referenceKernels();
    const saved = await openAdapterFiles(folder);
    using base = openCheckpoint(dir, k, openingOf(saved));
    const params = await loadAdapter(base, saved);
    const changes = [...params.merge?.(k) ?? []];
    const replace = new Map(changes.map(({ name, shape, apply }) => {
      const entry = base.checkpoint.tensors.get(name);
      const [rows, cols] = (shape ?? entry?.shape ?? []).length === 1
        ? [1, (shape ?? entry?.shape ?? [])[0] as number]
        : (shape ?? entry?.shape ?? []) as [number, number];
      const data = entry ? valuesOf(entry) : new Float64Array(rows * cols);
      apply(data);
      return [name, { name, dtype: "f64" as const, rows, cols, data, mapped: null, grad: null }] as const;
    }));
    const merged: Model = withWeights(base, replace as never);
    assertWithin("logits", (await forwardLogits(merged, batch, {})).data, expected("logits"), BOUND);
  });
}

for (
  const [name, method] of Object.entries({
    sparse: sparse({ neurons: 8, experts: 1, topK: 4 }),
    parallel: parallel({ neurons: 4 }),
    lora: lora(),
  })
) {
  Deno.test(`a fresh head is trained beside ${name}, starts from the seed, and is saved with it`, async () => {
    const k = referenceKernels();
    using base = openCheckpoint(modelFixture("llama_biases").dir, k, { head: LABELS });
    const run = plan(base, { method, batch: { size: 2, micro: 2, seqLen: 16 }, steps: 1 });
    const make = (seed: number) => {
      const params = run.adapterKind.create(k, base, 32);
      params.init(k, seed);
      return params;
    };
    const [params, same, other] = [make(1), make(1), make(2)];
    const head = (of: typeof params) => {
      const found = of.parameters.find(({ name }) => name === "base_model.model.score.weight");
      assert.ok(found?.kind === "dense");
      return found;
    };
    assert.deepEqual(head(params).shape, [2, 24]);
    assertSame(head(params).data, head(same).data);
    assert.notDeepEqual([...head(params).data], [...head(other).data]);
    const spread = Math.hypot(...head(params).data) / Math.sqrt(48);
    assert.ok(spread > 0.5 * base.config.initializerRange && spread < 1.5 * base.config.initializerRange);
    await withFolder(async (out) => {
      await saveAdapter(base, params, out);
      const saved = await openAdapterFiles(out);
      assert.deepEqual(saved.head, LABELS);
      assertSame(
        parameterBytes((await loadAdapter(base, saved)).parameters),
        parameterBytes(params.parameters),
      );
    });
  });
}

/** What is wrong with options on a tied model of 61 tokens, or on one whose head is its own. */
function problemsOf(options: JsonObject, kind = "lora", checkpoint = "qwen2_tied"): string {
  using model = openCheckpoint(modelFixture(checkpoint).dir, referenceKernels());
  return resolveAdapter({ kind, options }, model.config).problems.join("\n");
}

Deno.test("modules to save are chosen by the ends of their names, and refused by name", () => {
  const problems = (modulesToSave: Json, kind = "lora") => problemsOf({ modulesToSave }, kind);
  assert.equal(problems(["model.norm"]), "");
  assert.equal(problems(["embed_tokens"]), "");
  assert.match(problems(["nrom"]), /modulesToSave has "nrom", which is the end of no module's name.*norm/);
  assert.match(problems([3]), /modulesToSave is \[3\], expected the ends of names/);
  assert.match(
    problems(["norm"], "full"),
    /modulesToSave says nothing here: all modules are trained already/,
  );
});

Deno.test("what is trained whole gets no delta, and who asks for both is told", () => {
  const both = (modulesToSave: Json, options: JsonObject = {}) =>
    problemsOf({ targets: ["q", "v"], modulesToSave, ...options });
  assert.match(
    both(["1.self_attn.q_proj"]),
    /^targets takes in model\.layers\.1\.self_attn\.q_proj, which modulesToSave \["1\.self_attn\.q_proj"\] trains whole/,
  );
  assert.match(both(["self_attn"]), /takes in model\.layers\.0\.self_attn\.q_proj and \d+ more, which/);
  assert.match(both(["layers"]), /which modulesToSave \["layers"\] trains whole/);
  assert.equal(both(["o_proj"]), "");
  assert.equal(both(["1.self_attn.q_proj"], { excludeTargets: ["1.self_attn.q_proj"] }), "");
  // Biases of what is trained whole are there already.
  assert.equal(both(["o_proj", "norm"], { bias: "all" }), "");
});

Deno.test("tokens whose rows are trained are numbers of the vocabulary, each once, of a table of tokens: all mistakes in one error", () => {
  const problems = (trainableTokenIndices: Json, more: JsonObject = {}, checkpoint = "qwen2_tied") =>
    problemsOf({ trainableTokenIndices, ...more }, "lora", checkpoint);
  assert.equal(problems([0, 60]), "");
  assert.equal(problems(5), "");
  assert.equal(problems({ embed_tokens: 5, lm_head: [5, 6] }), "");
  assert.match(
    problems([61, -1, 3, 2.5, "a", 3, 99, 100, 101]),
    /^trainableTokenIndices has 61, -1, 2\.5, "a", 99 and 2 more, expected tokens of the model: 0 to 60\n.*has 3 more than once$/,
  );
  assert.match(problems([]), /trainableTokenIndices is \[\], expected numbers of tokens/);
  assert.match(problems({}), /trainableTokenIndices is \{\}, expected numbers of tokens/);
  assert.match(problems({ lm_head: [70] }), /trainableTokenIndices of "lm_head" has 70, expected/);
  assert.match(
    problems({ q_proj: [1], embed_tokens: [2] }),
    /has "q_proj", which is no table of tokens: there are model\.embed_tokens and lm_head/,
  );
  assert.match(problems({ embed_tokens: [1], "model.embed_tokens": [2] }), /names model\.embed_tokens twice/);
  assert.match(
    problems([1], { modulesToSave: ["embed_tokens"] }),
    /rows of model\.embed_tokens, which modulesToSave trains whole/,
  );
  // The head is the embedding, and follows its rows.
  assert.match(
    problems([1], { modulesToSave: ["lm_head"] }),
    /rows of lm_head, which modulesToSave trains whole/,
  );
  assert.equal(problems([1], { modulesToSave: ["lm_head"] }, "llama_linear"), "");
  assert.match(
    problems({ embed_tokens: [1], lm_head: [2] }, { ensureWeightTying: true }),
    /gives model\.embed_tokens and lm_head different tokens, but the two are to stay one/,
  );
  assert.match(problemsOf({ trainableTokenIndices: [1] }, "full"), /trainableTokenIndices says nothing here/);
  assert.match(problemsOf({}, "tokens"), /has nothing to train: choose tokens by trainableTokenIndices/);
  assert.match(
    problemsOf({ modulesToSave: ["norm"], ensureWeightTying: true }),
    /ensureWeightTying says nothing here/,
  );
  assert.match(
    problemsOf({ modulesToSave: ["lm_head"], ensureWeightTying: true }, "lora", "llama_linear"),
    /ensureWeightTying says nothing here/,
  );
});

Deno.test("rows of a table that another adapter trains are not trained together with it", () => {
  using model = openCheckpoint(modelFixture("qwen2_tied").dir, referenceKernels());
  const refused = (options: JsonObject, also: JsonObject) => {
    const method = lora({ targets: ["q"], ...options } as LoraOptions);
    return () =>
      plan(model, { method, also: [{ kind: "tokens", options: also }], batch: { seqLen: 8 }, steps: 1 });
  };
  const [whole, rows] = [{ modulesToSave: ["embed_tokens"] }, { trainableTokenIndices: [4] }];
  assert.throws(
    refused(whole, rows),
    /lora and tokens cannot be trained together: both have a tensor "model\.embed_tokens/,
  );
  assert.throws(refused(rows, rows), /lora and tokens cannot be trained together: both have a tensor/);
  assert.doesNotThrow(refused({}, rows));
});
