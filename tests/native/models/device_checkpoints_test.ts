// SPDX-License-Identifier: Apache-2.0
/** Checkpoints whose weights or rotary tables reach a device in a way of their own, against torch in f64. */
import assert from "node:assert/strict";
import { evaluateLoss } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { assertWithin, modelFixture } from "../../fixtures/model_fixture.ts";

const { backend } = openTestDevice();
const EPS = 2 ** -23;
/** As on the CPU (checkpoints_test.ts). */
const MULTIPLE = 64;

for (
  const name of [
    "llama_dynamic",
    "llama_longrope",
    "mistral_longrope",
    "qwen2_base_names",
    "llama_own_head",
    "qwen3_head_alone",
    // Norms, activations, embeddings and products of other kinds.
    ...["gemma2", "gemma3_text", "gpt2_as_stored", "opt_norm_behind", "phi3_partial_longrope", "olmo2"],
  ]
) {
  Deno.test(`evaluateLoss() on ${backend} of ${name} is within ${MULTIPLE} eps of torch in f64, and gives all back`, async () => {
    const { dir, batch, expected } = modelFixture(name);
    using kernels = cudaKernels({ compute: "f32", blockBytes: 1 << 20 });
    const weightBytes = () => kernels.device?.facts().ledger["weights"]?.bytes;
    {
      using model = openCheckpoint(dir, kernels);
      const { lossSum } = await evaluateLoss(model, batch, {});
      const [wanted] = expected("loss");
      assertWithin("loss", [lossSum], [wanted as number], MULTIPLE * EPS * (wanted as number));
      assert((weightBytes() ?? 0) > 0);
    }
    assert.equal(weightBytes(), 0);
  });
}
