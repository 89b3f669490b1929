// SPDX-License-Identifier: Apache-2.0
/** Every family against torch in f64, by the native kernels on memory-mapped weights. */
import assert from "node:assert/strict";
import { openAdapterFiles } from "../../../lib/adapters/files/adapter_files.ts";
import { readAdapterInto } from "../../../lib/adapters/files/saved_adapter.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import { forwardLogits, lossAndGradients } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { liveGradient } from "../../../lib/optim/parameters.ts";
import { loadAdapter } from "../../../lib/train/adapters.ts";
import { LORA_FIXTURES, loraFixture } from "../../fixtures/lora_fixture.ts";
import { assertWithin, largest } from "../../compare.ts";
import { MODEL_FIXTURES, modelFixture } from "../../fixtures/model_fixture.ts";
import { type Bound, comparePass } from "../../fixtures/torch_pass.ts";

const EPS = 2 ** -23;
/**
 * f32: about 30 sums in a row (2 layers, norms, attention, head) of some 40 products each, whose terms are of the size of
 * the tensor's largest element; errors of rounding grow like the root of their number, so 64 eps is generous but finite.
 */
const MULTIPLE = 64;

async function comparePassIn(compute: "f32" | "bf16", name: string, bound: Bound): Promise<void> {
  const { dir, batch, ...oracle } = modelFixture(name);
  using kernels = nativeKernels({ compute });
  using model = openCheckpoint(dir, kernels);
  await comparePass(model, batch, oracle, { activations: "store", bound });
}

for (const name of MODEL_FIXTURES) {
  Deno.test(`a pass of ${name} in f32 is within ${MULTIPLE} eps of torch in f64, relative to the largest element`, () =>
    comparePassIn("f32", name, (_, oracle) => MULTIPLE * EPS * largest(oracle)));

  Deno.test(`a pass of ${name} in bf16 errs at most twice as much as torch in bf16`, () => {
    const { expected } = modelFixture(name);
    return comparePassIn("bf16", name, (what) => 2 * (expected(`bf16_error.${what}`)[0] as number));
  });
}

for (const name of LORA_FIXTURES) {
  Deno.test(`logits with ${name}, a LoRA of PEFT's, in f32 are within ${MULTIPLE} eps of torch in f64`, async () => {
    const { folder, base, expected } = loraFixture(name);
    using kernels = nativeKernels({ compute: "f32" });
    using model = openCheckpoint(base.dir, kernels);
    const { hooks } = (await loadAdapter(model, folder)).attach(kernels);
    const oracle = expected("logits");
    const bound = MULTIPLE * EPS * largest(oracle);
    assertWithin("logits", (await forwardLogits(model, base.batch, hooks)).data, oracle, bound);
  });
}

/** Error of all gradients together over their norm where products alone are bf16, and all between them f32: measured. */
const ERROR_OF_PRODUCTS: Readonly<Record<string, number>> = { llama_all: 0.0198, qwen2_some: 0.0488 };

for (const name of Object.keys(ERROR_OF_PRODUCTS)) {
  Deno.test(`gradients of ${name} in bf16 err at most twice as much as with products alone in bf16`, async () => {
    const { folder, base, expected } = loraFixture(name);
    using kernels = nativeKernels({ compute: "bf16" });
    using model = openCheckpoint(base.dir, kernels);
    const saved = await openAdapterFiles(folder);
    const { adapter } = resolveAdapter(saved.spec, model.config);
    const params = adapter.create(kernels, model, base.batch.ids.length);
    readAdapterInto(model, saved, params);
    const { hooks } = params.attach(kernels);
    const lossScale = 1 / base.batch.targetCount;
    await lossAndGradients(model, base.batch, hooks, { activations: "store", lossScale });
    let [error, norm] = [0, 0];
    for (const parameter of params.parameters) {
      const gradient = liveGradient(parameter);
      expected(`grad.${parameter.name}`).forEach((oracle, i) => {
        error += ((gradient[i] as number) - oracle) ** 2;
        norm += oracle ** 2;
      });
    }
    const relative = Math.sqrt(error / norm);
    assert.ok(relative <= 2 * (ERROR_OF_PRODUCTS[name] as number), `off by ${relative} of their norm`);
  });
}
