// SPDX-License-Identifier: Apache-2.0
/** Encoders with a decoder against transformers. */
import assert from "node:assert/strict";
import { shiftedRight } from "../../../../lib/data/shift_right.ts";
import { evaluateLoss, forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { nativeKernels } from "../../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { assertSame } from "../../../compare.ts";
import { ENCODER_DECODER_FIXTURES, headFixture } from "../../../fixtures/head_fixture.ts";
import { assertWithin, largest } from "../../../fixtures/model_fixture.ts";
import { trainableModel } from "../../../fixtures/trainable_model.ts";

for (const name of ENCODER_DECODER_FIXTURES) {
  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`${name} gives the outputs, loss and gradients of transformers with ${activations}`, async () => {
      const { dir, batch, expected, names } = headFixture(name);
      using base = openCheckpoint(dir, referenceKernels());
      using model = trainableModel(base);
      assertWithin("outputs", (await forwardLogits(model, batch, {})).data, expected("outputs"), 1e-9);
      assertWithin("loss", [(await evaluateLoss(model, batch, {})).lossSum], expected("loss"), 1e-9);
      const seen: Float64Array[] = [];
      const { lossSum, targetCount } = await lossAndGradients(model, batch, {}, {
        activations,
        lossScale: 1 / batch.targetCount,
        tap: (state, dx) => void (seen[state] = Float64Array.from(dx.data)),
      });
      assertWithin("loss", [lossSum], expected("loss"), 1e-9);
      assert.equal(targetCount, batch.targetCount);
      assert.equal(seen.length, names("hidden_grad.").length);
      for (const [state, dx] of seen.entries()) {
        assertWithin(`hidden_grad.${state}`, dx, expected(`hidden_grad.${state}`), 1e-9);
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
    Deno.test(`native kernels give the outputs and gradients of ${name} in ${compute}`, async () => {
      const { dir, batch, expected } = headFixture(name);
      using kernels = nativeKernels({ compute });
      using model = openCheckpoint(dir, kernels);
      // In bf16 at most twice what torch's own run is off.
      const bound = (what: string) =>
        compute === "bf16"
          ? 2 * (expected(`bf16_error.${what}`)[0] as number)
          : 2e-5 * Math.max(1, largest(expected(what)));
      const { data } = await forwardLogits(model, batch, {});
      assertWithin("outputs", data, expected("outputs"), bound("outputs"));
      const options = { activations: "recompute", lossScale: 1 / batch.targetCount } as const;
      const seen: Float64Array[] = [];
      const tap = (state: number, dx: { data: ArrayLike<number> }) =>
        void (seen[state] = Float64Array.from(dx.data));
      await lossAndGradients(model, batch, {}, { ...options, tap });
      for (const [state, dx] of seen.entries()) {
        const what = `hidden_grad.${state}`;
        assertWithin(what, dx, expected(what), bound(what));
      }
    });
  }
}

Deno.test("a decoder reads what should come out, moved by the rule of its family", () => {
  for (const name of ["encoder_decoders/bart", "encoder_decoders/mbart"]) {
    const { dir, batch, integers } = headFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const { shiftedIn } = model.config.decoderIds!;
    assertSame(shiftedRight(integers("labels_in_full"), batch.starts, shiftedIn), batch.ids);
  }
});
