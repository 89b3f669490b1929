// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { loadModel, openKernels } from "../../../lib/train/open_model.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";

Deno.test("openKernels() computes on the CPU in the type and with the threads that are asked for", () => {
  for (const [dtype, threads] of [["f32", 1], ["bf16", 2]] as const) {
    using k = openKernels({ device: "cpu", dtype, threads });
    assert.deepEqual([k.backend, k.compute, k.info().threads, k.hostProducts.threads], [
      "cpu",
      dtype,
      threads,
      threads,
    ]);
  }
  using k = openKernels({ device: "cpu" });
  assert.equal(k.info().threads, navigator.hardwareConcurrency);
  assert.equal(k.compute, k.hostProducts.operandDType === "bf16" ? "bf16" : "f32");
});

Deno.test("loadModel() gives back the kernels that it made, with the model or when it fails", async () => {
  const { dir } = modelFixture("llama3_tied");
  const model = await loadModel(dir, { device: "cpu", threads: 1 });
  const { kernels } = model;
  kernels.sumSquares(kernels.floats(4));
  model[Symbol.dispose]();
  assert.throws(() => kernels.sumSquares(kernels.floats(4)));
  await assert.rejects(loadModel(`${dir}/nowhere`, { device: "cpu", threads: 1 }));
});
