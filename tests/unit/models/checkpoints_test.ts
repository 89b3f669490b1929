// SPDX-License-Identifier: Apache-2.0
/** Every family against torch in f64, by the reference kernels. */
import assert from "node:assert/strict";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { MODEL_FIXTURES, modelFixture } from "../../fixtures/model_fixture.ts";
import { comparePass, compareWeights, REGROUPED } from "../../fixtures/torch_pass.ts";
import { trainableModel } from "../../fixtures/trainable_model.ts";

for (const name of MODEL_FIXTURES) {
  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`a pass with ${activations} gives torch's logits, loss and gradient of every hidden state for ${name}`, async () => {
      const { dir, batch, ...oracle } = modelFixture(name);
      using model = openCheckpoint(dir, referenceKernels());
      assert.equal(oracle.names("hidden_grad.").length, model.config.numHiddenLayers + 1);
      await comparePass(model, batch, oracle, { activations, bound: REGROUPED });
    });
  }
}

for (
  const name of MODEL_FIXTURES.filter((fixture) => modelFixture(fixture).names("weight_grad.").length > 0)
) {
  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`a pass with ${activations} gives torch's gradient of every weight for ${name}`, async () => {
      const { dir, batch, ...oracle } = modelFixture(name);
      using base = openCheckpoint(dir, referenceKernels());
      using model = trainableModel(base);
      await comparePass(model, batch, oracle, { activations, bound: REGROUPED });
      assert.equal(oracle.names("weight_grad.").length, model.trainable.length);
      compareWeights(model, oracle, REGROUPED);
    });
  }
}
