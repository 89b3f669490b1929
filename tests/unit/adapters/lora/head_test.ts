// SPDX-License-Identifier: Apache-2.0
/** Deltas of a head's products: where they go, their gradients whichever way a step is cut, and how they are merged. */
import assert from "node:assert/strict";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import { attachAdapter } from "../../../../lib/adapters/attach.ts";
import type { JsonObject } from "../../../../lib/core/json.ts";
import { writeMergedCheckpoint } from "../../../../lib/merge/merged_checkpoint.ts";
import { evaluateLoss, forwardLogits } from "../../../../lib/models/engine/pass.ts";
import type { PartPlace } from "../../../../lib/models/engine/interleave.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { nativeKernels } from "../../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { countedRun } from "../../../../lib/predict/counted_passes.ts";
import { microBatchGradients } from "../../../../lib/train/micro_batch.ts";
import { assertGradients, stir, WAYS } from "../../../contract/adapter_gradients.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { assertWithin } from "../../../compare.ts";

/** Heads' modules that "all-linear" takes. */
const HEADS: Readonly<Record<string, readonly string[]>> = {
  "encoders/bert_masked": ["cls.predictions.transform.dense"],
  "encoders/distilbert_masked": ["vocab_transform"],
  "encoders/roberta_masked": ["lm_head.dense"],
  "encoders/modernbert_masked": ["head.dense"],
  "encoders/bert_labels": ["bert.pooler.dense", "classifier"],
  "encoders/modernbert_labels": ["head.dense", "classifier"],
  "encoders/roberta_value": ["classifier.dense", "classifier.out_proj"],
  "encoder_decoders/bart_labels": ["classification_head.dense", "classification_head.out_proj"],
};

const sizesOf = (names: readonly { readonly name: string }[]) => names.map(({ name }) => name);
const factors = (modules: readonly string[]) =>
  modules.flatMap((name) => ["A", "B"].map((factor) => `base_model.model.${name}.lora_${factor}.weight`));

for (const [name, modules] of Object.entries(HEADS)) {
  const { dir, batch } = checkpointFixture(name);
  const lora = (options: JsonObject) => ({ kind: "lora", options: { rank: 2, ...options } });

  Deno.test(`${name}: all-linear takes the head's products, all and the default those of layers`, () => {
    using model = openCheckpoint(dir, referenceKernels());
    const { numHiddenLayers } = model.config;
    const namesOf = (options: JsonObject) => {
      const { adapter, problems } = resolveAdapter(lora(options), model.config);
      assert.deepEqual(problems, []);
      const { targets } = adapter.config as { targets: readonly string[] };
      return { names: sizesOf(adapter.sizes(model, 0).parameters), targets };
    };
    const [all, linear] = [namesOf({ targets: "all" }), namesOf({ targets: "all-linear" })];
    assert.deepEqual(namesOf({}), all);
    assert(all.names.every((own) => /\.\d+\./.test(own)));
    assert(all.names.length >= 2 * numHiddenLayers);
    assert.deepEqual(linear.names, [...all.names, ...factors(modules)]);
    assert.deepEqual(linear.targets, [...all.targets, ...modules]);
    assert.deepEqual(namesOf({ targets: linear.targets as string[] }), linear);
    const whole = namesOf({ targets: ["ALL-linear"], modulesToSave: [modules[0] as string] });
    assert.deepEqual(
      whole.names.filter((own) => own.includes(".lora_")),
      [...all.names, ...factors(modules.slice(1))],
    );
    const both = { targets: [modules[0] as string], modulesToSave: [modules[0] as string] };
    assert.match(resolveAdapter(lora(both), model.config).problems.join(), /trains whole/);
  });

  for (const targets of ["all-linear", [...modules]]) {
    Deno.test(`${name}: gradients of ${[targets].flat()} are those of finite differences, however a step is cut`, async () => {
      const k = referenceKernels();
      using model = openCheckpoint(dir, k);
      const { adapter } = resolveAdapter(lora({ targets, dropout: 0.3 }), model.config);
      const params = adapter.create(k, model, batch.ids.length);
      params.init(k, 3);
      stir(model, params);
      const ways = WAYS.filter(({ placement }) => placement.kind === "host");
      await assertGradients(model, params, targets === "all-linear" ? ways : ways.slice(0, 3), batch);
    });
  }

  Deno.test(`${name}: a delta of its head is merged into the head`, async () => {
    const k = referenceKernels();
    using model = openCheckpoint(dir, k);
    const { adapter } = resolveAdapter(lora({ targets: [...modules] }), model.config);
    const params = adapter.create(k, model, 0);
    params.init(k, 3);
    stir(model, params);
    const attached = attachAdapter(model, params);
    const beside = (await forwardLogits(attached.model, batch, attached.hooks)).data;
    const plain = (await forwardLogits(model, batch, {})).data;
    assert(beside.some((value, i) => Math.abs(value - (plain[i] as number)) > 1e-3));
    await withFolder(async (out) => {
      await writeMergedCheckpoint(
        model,
        { changes: [...params.merge?.(k) ?? []], config: {}, dtype: null },
        out,
      );
      using merged = openCheckpoint(out, k);
      assertWithin("merged", (await forwardLogits(merged, batch, {})).data, Float64Array.from(beside), 1e-5);
    });
  });

  Deno.test(`${name}: deltas of its head take of the arenas what is counted`, async () => {
    for (const [activations, halves] of [["store", 1], ["recompute", 2]] as const) {
      using kernels = nativeKernels({ compute: "f32" });
      using model = openCheckpoint(dir, kernels);
      const { adapter } = resolveAdapter(lora({ targets: "all-linear", dropout: 0.3 }), model.config);
      const params = adapter.create(kernels, model, 12);
      params.init(kernels, 1);
      const counted = countedRun(model, adapter, { activations, halves, tokensPerStep: 12 });
      const bytes = ({ arena, hostArena }: Kernels) => [arena.bytes, hostArena.bytes];
      const attached = attachAdapter(model, params);
      const [own, size] = twelveTokens(name);
      await evaluateLoss(attached.model, own, attached.hooks);
      await counted.evaluate(size);
      assert.deepEqual(bytes(counted.kernels), bytes(kernels), "for the loss alone");
      const attach = (k: Kernels, place: PartPlace) =>
        attachAdapter(model, params, k, { training: { seed: 1, step: 1, ...place } });
      await microBatchGradients(kernels, own, halves, attach, { activations, lossScale: 1 });
      await counted.train(size, { longest: 6 });
      assert.deepEqual(bytes(counted.kernels), bytes(kernels));
    }
  });
}

/** Two sequences of 6 tokens each with targets of the kind that a checkpoint's head compares, and their sizes. */
function twelveTokens(name: string) {
  const { batch: { targets, source } } = checkpointFixture(name);
  const shape = {
    ids: new Int32Array(12).fill(4),
    positions: Int32Array.from({ length: 12 }, (_, i) => i % 6),
    starts: Int32Array.of(0, 6, 12),
  };
  const own = {
    tokens: { kind: "tokens", ids: new Int32Array(12).fill(3) },
    classes: { kind: "classes", labels: Int32Array.of(0, 1) },
    values: { kind: "values", values: Float64Array.of(0.5, 1) },
  } as const;
  const count = targets.kind === "tokens" ? 12 : 2;
  const batch = {
    ...shape,
    targets: own[targets.kind],
    targetCount: count,
    ...(source && { source: shape }),
  };
  return [batch, { tokens: 12, targets: count, ...(source && { sourceTokens: 12 }) }] as const;
}
