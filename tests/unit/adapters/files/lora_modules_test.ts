// SPDX-License-Identifier: Apache-2.0
/** What is trained whole beside a LoRA (a head, modules, biases), as PEFT saves it; and beside our own adapters. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { attachAdapter } from "../../../../lib/adapters/attach.ts";
import { openAdapterFiles, readAdapterInto } from "../../../../lib/adapters/files/adapter_files.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import type { Batch } from "../../../../lib/data/batch.ts";
import { forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import type { HeadConfig } from "../../../../lib/models/heads/head_config.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { withWeights } from "../../../../lib/models/trainable.ts";
import { lora, parallel, sparse } from "../../../../lib/methods/methods.ts";
import { liveGradient } from "../../../../lib/optim/parameters.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readFloatsInto, readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../../../lib/tensor/safetensors.ts";
import { numel } from "../../../../lib/tensor/tensor.ts";
import { loadAdapter, saveAdapter } from "../../../../lib/train/adapters.ts";
import { plan } from "../../../../lib/train/plan.ts";
import { assertSame } from "../../../compare.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { assertWithin, modelFixture } from "../../../fixtures/model_fixture.ts";
import { parameterBytes } from "../../train/small_run.ts";

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..", "fixtures", "lora_modules");
const BOUND = 1e-9;
const LABELS: HeadConfig = { kind: "classification", gives: "classes", labels: ["no", "yes"] };

function valuesOf(entry: TensorEntry): Float64Array {
  const values = new Float64Array(numel(entry.shape));
  readFloatsInto(values, entry);
  return values;
}

interface Fixture {
  readonly folder: string;
  readonly dir: string;
  readonly batch: Batch;
  readonly expected: (name: string) => Float64Array;
}

function fixture(name: string): Fixture {
  const folder = join(FOLDER, name);
  const { base_model_name_or_path: base } = JSON.parse(
    Deno.readTextFileSync(join(folder, "adapter_config.json")),
  );
  const { tensors } = readSafetensorsHeader(join(folder, "expected.safetensors"));
  const { dir, batch } = modelFixture(base);
  const labels = tensors.get("labels");
  const count = batch.starts.length - 1;
  const targets: Batch["targets"] = labels === undefined
    ? batch.targets
    : labels.dtype === "f64"
    ? { kind: "values", values: readTensor(labels, "f64") }
    : { kind: "classes", labels: readTensor(labels, "i32") };
  return {
    folder,
    dir,
    batch: { ...batch, targets, targetCount: labels === undefined ? batch.targetCount : count },
    expected: (tensor) => readTensor(tensors.get(tensor) as TensorEntry, "f64"),
  };
}

for (const name of ["classifier", "value", "norm_and_head"]) {
  Deno.test(`${name}, saved by PEFT, gives torch's outputs and gradients, and is saved again with the same tensors`, async () => {
    const { folder, dir, batch, expected } = fixture(name);
    const k = referenceKernels();
    const saved = await openAdapterFiles(folder);
    using base = openCheckpoint(dir, k, { head: saved.head ?? undefined });
    const params = resolveAdapter(saved.spec, base.config).adapter.create(k, base, batch.ids.length);
    readAdapterInto(k, saved, params);
    const { model, hooks } = attachAdapter(base, params, k);
    assertWithin("logits", (await forwardLogits(model, batch, hooks)).data, expected("logits"), BOUND);
    await lossAndGradients(model, batch, hooks, { activations: "store", lossScale: 1 / batch.targetCount });
    for (const parameter of params.parameters) {
      assertWithin(parameter.name, liveGradient(parameter), expected(`grad.${parameter.name}`), BOUND);
    }
    await withFolder(async (out) => {
      await saveAdapter(base, params, out);
      const [theirs, ours] = [folder, out].map((place) =>
        readSafetensorsHeader(join(place, "adapter_model.safetensors"))
      );
      assert.deepEqual([...ours!.tensors.keys()].sort(), [...theirs!.tensors.keys()].sort());
      for (const [tensor, entry] of theirs!.tensors) {
        const own = ours!.tensors.get(tensor) as TensorEntry;
        assert.deepEqual(own.shape, entry.shape);
        assertSame(valuesOf(own), valuesOf(entry));
      }
      const fields = JSON.parse(await Deno.readTextFile(join(out, "adapter_config.json")));
      const given = JSON.parse(await Deno.readTextFile(join(folder, "adapter_config.json")));
      for (const field of ["task_type", "bias", "peft_type", "r"]) {
        assert.deepEqual(fields[field], given[field], field);
      }
      assert.ok(fields.modules_to_save.every((module: string) => given.modules_to_save.includes(module)));
      const again = await loadAdapter(base, out);
      assertSame(parameterBytes(again.parameters), parameterBytes(params.parameters));
    });
  });

  Deno.test(`${name}, saved by PEFT and merged, gives the same outputs`, async () => {
    const { folder, dir, batch, expected } = fixture(name);
    const k = referenceKernels();
    const saved = await openAdapterFiles(folder);
    using base = openCheckpoint(dir, k, { head: saved.head ?? undefined });
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

Deno.test("modules to save are chosen by the ends of their names, and refused by name", () => {
  const { config } = openCheckpoint(modelFixture("qwen2_tied").dir, referenceKernels());
  const problems = (modulesToSave: unknown, kind = "lora") =>
    resolveAdapter({ kind, options: { modulesToSave } as never }, config).problems;
  assert.deepEqual(problems(["model.norm"]), []);
  assert.match(
    problems(["nrom"]).join(),
    /modulesToSave has "nrom", which is the end of no module's name.*norm/,
  );
  assert.match(problems(["embed_tokens"]).join(), /takes in model.embed_tokens, which is the head too/);
  assert.match(problems([3]).join(), /modulesToSave is \[3\], expected the ends of names/);
  assert.match(problems(["norm"], "full").join(), /all modules are trained already/);
});
