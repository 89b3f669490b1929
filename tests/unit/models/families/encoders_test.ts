// SPDX-License-Identifier: Apache-2.0
/** Encoders with each of their heads against transformers. */
import assert from "node:assert/strict";
import { evaluateLoss, forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { createKvCache } from "../../../../lib/models/engine/kv_cache.ts";
import type { HeadConfig } from "../../../../lib/models/heads/head_config.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { modelSites } from "../../../../lib/models/modules.ts";
import { nativeKernels } from "../../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { ENCODER_FIXTURES, headFixture } from "../../../fixtures/head_fixture.ts";
import { assertWithin, largest } from "../../../fixtures/model_fixture.ts";
import { trainableModel } from "../../../fixtures/trainable_model.ts";

const LABELS: HeadConfig = { kind: "classification", gives: "classes", labels: ["no", "yes"] };

for (const name of ENCODER_FIXTURES) {
  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`${name} gives the outputs, loss and gradients of transformers with ${activations}`, async () => {
      const { dir, batch, expected, names } = headFixture(name);
      using base = openCheckpoint(dir, referenceKernels());
      using model = trainableModel(base);
      assert.equal(base.fresh.size, 0);
      assertWithin("outputs", (await forwardLogits(model, batch, {})).data, expected("outputs"), 1e-9);
      assertWithin("loss", [(await evaluateLoss(model, batch, {})).lossSum], expected("loss"), 1e-9);
      const seen: Float64Array[] = [];
      const { lossSum, targetCount } = await lossAndGradients(model, batch, {}, {
        activations,
        lossScale: 1 / batch.targetCount,
        tap: (layer, dx) => void (seen[layer] = Float64Array.from(dx.data)),
      });
      assertWithin("loss", [lossSum], expected("loss"), 1e-9);
      assert.equal(targetCount, batch.targetCount);
      assert.equal(seen.length, names("hidden_grad.").length);
      for (const [layer, dx] of seen.entries()) {
        assertWithin(`hidden_grad.${layer}`, dx, expected(`hidden_grad.${layer}`), 1e-9);
      }
      const gradients = new Map(model.trainable.map((weight) => [weight.name, weight.grad]));
      const trained = names("weight_grad.").map((tensor) => tensor.slice("weight_grad.".length));
      for (const tensor of trained) {
        assertWithin(tensor, gradients.get(tensor) ?? [], expected(`weight_grad.${tensor}`), 1e-9);
      }
      for (const tensor of gradients.keys()) assert(trained.includes(tensor), `${tensor} has no gradient`);
    });
  }

  for (const compute of ["f32", "bf16"] as const) {
    Deno.test(`native kernels give the outputs, loss and gradients of ${name} in ${compute}`, async () => {
      const { dir, batch, expected } = headFixture(name);
      using kernels = nativeKernels({ compute });
      using model = openCheckpoint(dir, kernels);
      // In bf16 at most twice what torch's own run is off.
      const bound = (what: string) =>
        compute === "bf16"
          ? 2 * (expected(`bf16_error.${what}`)[0] as number)
          : 2e-5 * Math.max(1, largest(expected(what)));
      assertWithin(
        "outputs",
        (await forwardLogits(model, batch, {})).data,
        expected("outputs"),
        bound("outputs"),
      );
      const options = { activations: "recompute", lossScale: 1 / batch.targetCount } as const;
      const seen: Float64Array[] = [];
      const tap = (layer: number, dx: { data: ArrayLike<number> }) =>
        void (seen[layer] = Float64Array.from(dx.data));
      await lossAndGradients(model, batch, {}, { ...options, tap });
      for (const [layer, dx] of seen.entries()) {
        assertWithin(
          `hidden_grad.${layer}`,
          dx,
          expected(`hidden_grad.${layer}`),
          bound(`hidden_grad.${layer}`),
        );
      }
    });
  }
}

Deno.test("a head on sequences takes what the checkpoint of a masked model has, and starts the rest fresh", () => {
  const open = (name: string) =>
    openCheckpoint(headFixture(`encoders/${name}`).dir, referenceKernels(), { head: LABELS });
  using bert = open("bert_masked");
  assert.deepEqual([...bert.fresh], ["classifier.weight", "classifier.bias"]);
  using roberta = open("roberta_masked");
  assert.deepEqual([...roberta.fresh], [
    "classifier.out_proj.weight",
    "classifier.out_proj.bias",
    "classifier.dense.weight",
    "classifier.dense.bias",
  ]);
  assert.match(roberta.warnings.join("\n"), /passed over.*"lm_head/);
});

Deno.test("an encoder's sites are PEFT's, and it has nothing to decode", () => {
  using model = openCheckpoint(headFixture("encoders/bert_masked").dir, referenceKernels());
  const { words, peftDefault } = modelSites(model.config);
  assert.deepEqual([...words], [
    ["q", "query"],
    ["k", "key"],
    ["v", "value"],
    ["o", "attention.output.dense"],
    ["up", "intermediate.dense"],
    ["down", "output.dense"],
  ]);
  assert.deepEqual(peftDefault, ["q", "v"]);
  assert.throws(() => createKvCache(model, 4), /masked-lm head: it predicts no tokens/);
});

Deno.test("positions begin behind that of padding where the family has it so", () => {
  using model = openCheckpoint(headFixture("encoders/roberta_masked").dir, referenceKernels());
  assert.equal(model.config.maxPositionEmbeddings, 18);
});
