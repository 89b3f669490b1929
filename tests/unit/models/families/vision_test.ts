// SPDX-License-Identifier: Apache-2.0
/** Vision transformers against transformers: outputs, loss and gradients; names and shapes of checkpoints. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { splitBatch } from "../../../../lib/models/engine/interleave.ts";
import { evaluateLoss, forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { modelSites } from "../../../../lib/models/modules.ts";
import { lastStack, type PatchInput } from "../../../../lib/models/parts.ts";
import { parseConfig } from "../../../../lib/models/read_config.ts";
import { nativeKernels } from "../../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { assertWithin, largest } from "../../../compare.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { comparePass, compareWeights, REGROUPED } from "../../../fixtures/torch_pass.ts";
import { trainableModel } from "../../../fixtures/trainable_model.ts";
import { VISION_FIXTURES, visionFixture, visionFolder } from "../../../fixtures/vision_fixture.ts";

function inputOf({ parts }: Model): PatchInput {
  const { input } = lastStack(parts);
  assert(input.kind === "patches");
  return input;
}

function batchOf(name: string, model: Model) {
  const { shape, tokens } = inputOf(model);
  return visionFixture(name).batch(shape, tokens.length);
}

for (const name of VISION_FIXTURES) {
  Deno.test(`${name} gives the outputs, loss and gradients of transformers`, async () => {
    const { dir, batch: _, ...oracle } = visionFixture(name);
    using base = openCheckpoint(dir, referenceKernels());
    using model = trainableModel(base);
    const batch = batchOf(name, base);
    assert.deepEqual([base.warnings, base.fresh.size], [[], 0]);
    await comparePass(model, batch, oracle, { activations: "recompute", bound: REGROUPED });
    assert.ok(oracle.names("weight_grad.").length > 7);
    compareWeights(model, oracle, REGROUPED);
  });

  Deno.test(`native kernels give the outputs and gradients of ${name}, of a step with all of it trained`, async () => {
    const { dir, expected } = visionFixture(name);
    using kernels = nativeKernels({ compute: "f32" });
    using base = openCheckpoint(dir, kernels);
    using model = trainableModel(base);
    const batch = batchOf(name, base);
    const bound = 2e-5 * Math.max(1, largest(expected("outputs")));
    assertWithin("outputs", (await forwardLogits(model, batch, {})).data, expected("outputs"), bound);
    const options = { activations: "store", lossScale: 1 / batch.targetCount } as const;
    const { lossSum } = await lossAndGradients(model, batch, {}, options);
    assertWithin("loss", [lossSum], expected("loss"), 10 * bound);
    for (const { name: tensor, grad } of model.trainable) {
      if (tensor.includes(".layers.")) continue;
      const oracle = expected(`weight_grad.${tensor}`);
      assertWithin(tensor, grad, oracle, 1e-4 * Math.max(1e-2, largest(oracle)));
    }
  });

  Deno.test(`a batch of ${name} in two parts has the pictures of each`, async () => {
    const { dir, expected } = visionFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const parts = splitBatch(batchOf(name, model))?.parts ?? [];
    assert.equal(parts.length, 2);
    let sum = 0;
    for (const { batch } of parts) {
      sum += (await evaluateLoss(model, { ...batch, targetCount: 0 }, {})).lossSum;
    }
    assertWithin("loss", [sum], expected("loss"), 1e-9);
  });
}

Deno.test("a base model has a fresh classifier, and its pooler is passed over", () => {
  using model = openCheckpoint(visionFolder("vit_base"), referenceKernels());
  assert.deepEqual([...model.fresh], ["classifier.weight", "classifier.bias"]);
  assert.match(
    model.warnings.join("\n"),
    /no part of the model are passed over: "(vit\.)?pooler\.dense\.bias"/,
  );
});

Deno.test("sites are queries to outputs by transformers' names for modules", () => {
  using model = openCheckpoint(visionFolder("vit_labels"), referenceKernels());
  const sites = modelSites(model.config);
  assert.deepEqual(sites.peftDefault, ["q", "v"]);
  assert.equal(sites.example.whole, "vit.layers.0.attention.q_proj");
  assert.deepEqual([...sites.words.values()], ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"]);
});

Deno.test("a model of pictures refuses texts and parts of pictures, and one of texts pictures", async () => {
  using model = openCheckpoint(visionFolder("vit_labels"), referenceKernels());
  const { pictures: _, ...texts } = batchOf("vit_labels", model);
  await assert.rejects(evaluateLoss(model, texts, {}), /takes pictures/);
  const batch = batchOf("vit_labels", model);
  const cut = batch.ids.length - 1;
  await assert.rejects(
    evaluateLoss(model, {
      ...batch,
      ids: batch.ids.subarray(0, cut),
      positions: batch.positions.subarray(0, cut),
      starts: batch.starts.with(-1, cut),
    }, {}),
    /expected 5 for each picture/,
  );
  const { dir, batch: tokens } = modelFixture("llama_linear");
  using llama = openCheckpoint(dir, referenceKernels());
  await assert.rejects(
    evaluateLoss(llama, { ...tokens, pictures: batch.pictures as NonNullable<typeof batch.pictures> }, {}),
    /takes tokens/,
  );
});

Deno.test("sizes of pictures and patches are read as transformers has them, and refused where they make no sense", () => {
  const fields = JSON.parse(Deno.readTextFileSync(join(visionFolder("vit_labels"), "config.json")));
  const read = (change: Record<string, unknown>) => {
    const problems: string[] = [];
    const config = parseConfig({ ...fields, ...change }, problems);
    return problems.length > 0 ? problems.join("\n") : config?.maxPositionEmbeddings;
  };
  assert.equal(read({}), 1 + 2 * 2);
  assert.equal(read({ image_size: 32, patch_size: 16 }), 1 + 4);
  assert.equal(read({ image_size: null, patch_size: null }), 1 + 14 * 14);
  assert.match(String(read({ image_size: 2 })), /"patch_size" is \[4,3\], expected at most the 2 x 2/);
  assert.match(String(read({ image_size: [0, 3] })), /"image_size" is \[0,3\]/);
  assert.match(String(read({ num_channels: 4 })), /"num_channels" is 4, expected 3/);
  assert.match(String(read({ num_attention_heads: 5 })), /"num_attention_heads"/);
  assert.match(String(read({ hidden_act: "mish" })), /"hidden_act" is "mish"/);
});
