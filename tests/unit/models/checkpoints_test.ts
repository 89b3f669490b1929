// SPDX-License-Identifier: Apache-2.0
/** Every family against torch in f64, by the reference kernels. */
import { evaluateLoss, forwardLogits, lossAndGradients } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { trainableModel } from "../../fixtures/trainable_model.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { assertWithin, MODEL_FIXTURES, modelFixture } from "../../fixtures/model_fixture.ts";

// Both sides sum in f64 in different orders; the values are of order 1.
const BOUND = 1e-9;

for (const name of MODEL_FIXTURES) {
  Deno.test(`forwardLogits() and evaluateLoss() equal torch in f64 for ${name}`, async () => {
    const { dir, batch, expected } = modelFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const logits = await forwardLogits(model, batch, {});
    assertWithin("logits", logits.data, expected("logits"), BOUND);
    const { lossSum, targetCount } = await evaluateLoss(model, batch, {});
    assertWithin("loss", [lossSum, targetCount], [expected("loss")[0] as number, batch.targetCount], BOUND);
  });

  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`lossAndGradients() with ${activations} gives torch's gradient of every hidden state for ${name}`, async () => {
      const { dir, batch, expected, names } = modelFixture(name);
      using model = openCheckpoint(dir, referenceKernels());
      const seen = new Map<number, Float64Array>();
      const tap = (layer: number, dx: { data: ArrayLike<number> }) =>
        void seen.set(layer, Float64Array.from(dx.data));
      const lossScale = 1 / batch.targetCount;
      const { lossSum } = await lossAndGradients(model, batch, {}, { activations, lossScale, tap });
      assertWithin("loss", [lossSum], expected("loss"), BOUND);
      const layers = names("hidden_grad.");
      assertWithin("hidden states", [seen.size, layers.length], [
        layers.length,
        model.config.numHiddenLayers + 1,
      ], 0);
      for (const [layer, dx] of seen) {
        assertWithin(`dx of layer ${layer}`, dx, expected(`hidden_grad.${layer}`), BOUND);
      }
    });
  }
}

for (
  const name of MODEL_FIXTURES.filter((fixture) => modelFixture(fixture).names("weight_grad.").length > 0)
) {
  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`lossAndGradients() with ${activations} gives torch's gradient of every weight for ${name}`, async () => {
      const { dir, batch, expected, names } = modelFixture(name);
      using base = openCheckpoint(dir, referenceKernels());
      using model = trainableModel(base);
      await lossAndGradients(model, batch, {}, { activations, lossScale: 1 / batch.targetCount });
      const weights = names("weight_grad.");
      assertWithin("weights", [model.trainable.length], [weights.length], 0);
      for (const { name: weight, grad } of model.trainable) {
        assertWithin(`gradient of ${weight}`, grad, expected(`weight_grad.${weight}`), BOUND);
      }
    });
  }
}
