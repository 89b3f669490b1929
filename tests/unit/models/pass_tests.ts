// SPDX-License-Identifier: Apache-2.0
/** The tests that every checkpoint with an oracle of transformers has. */
import assert from "node:assert/strict";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { largest } from "../../compare.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { type Bound, comparePass, compareWeights, REGROUPED } from "../../fixtures/torch_pass.ts";
import { trainableModel } from "../../fixtures/trainable_model.ts";

/** @param name Of a fixture: `encoders/bert_masked` */
export function testPasses(name: string): void {
  // Else the oracle has the gradients of some weights, and nothing in bf16.
  const isWhole = checkpointFixture(name).names("bf16_error.").length > 0;
  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`${name} gives the outputs, loss and gradients of transformers with ${activations}`, async () => {
      const { dir, batch, ...oracle } = checkpointFixture(name);
      using base = openCheckpoint(dir, referenceKernels());
      using model = trainableModel(base);
      assert.equal(base.fresh.size, 0);
      await comparePass(model, batch, oracle, { activations, bound: REGROUPED });
      if (isWhole) assert.equal(oracle.names("weight_grad.").length, model.trainable.length);
      compareWeights(model, oracle, REGROUPED);
    });
  }

  for (const compute of isWhole ? ["f32", "bf16"] as const : ["f32"] as const) {
    Deno.test(`native kernels give the outputs, loss and gradients of ${name} in ${compute}`, async () => {
      const { dir, batch, ...oracle } = checkpointFixture(name);
      using kernels = nativeKernels({ compute });
      using model = openCheckpoint(dir, kernels);
      const error = (what: string) => oracle.expected(`bf16_error.${what}`)[0] as number;
      const bound: Bound = (what, values) => {
        if (compute === "f32") return 2e-5 * Math.max(1, largest(values));
        // At most twice what torch's own run is off; its losses may agree by chance, but not what they are losses of.
        return what === "loss" ? 4 * batch.targetCount * error("outputs") : 2 * error(what);
      };
      await comparePass(model, batch, oracle, { activations: "recompute", bound });
    });
  }
}
