// SPDX-License-Identifier: Apache-2.0
/** Checkpoints whose weights or rotary tables reach a device in a way of their own, against torch in f64. */
import assert from "node:assert/strict";
import { decodeStep } from "../../../lib/models/engine/decode.ts";
import { encodeSource } from "../../../lib/models/engine/encode_source.ts";
import { createKvCache } from "../../../lib/models/engine/kv_cache.ts";
import { evaluateLoss, lossAndGradients } from "../../../lib/models/engine/pass.ts";
import { reorderCache } from "../../../lib/models/engine/reorder_cache.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { assertWithin, largest } from "../../compare.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";

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

for (const name of ["encoder_decoders/bart", "encoder_decoders/mbart"]) {
  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`both stacks of ${name} on ${backend} get the gradients of torch in f64: ${activations}`, async () => {
      const { dir, batch, expected } = checkpointFixture(name);
      using kernels = cudaKernels({ compute: "f32", blockBytes: 1 << 20 });
      using model = openCheckpoint(dir, kernels);
      const seen: Promise<Float64Array>[] = [];
      const { lossSum } = await lossAndGradients(model, batch, {}, {
        activations,
        lossScale: 1 / batch.targetCount,
        tap(state, { data }) {
          const copy = kernels.modelFloats(data.length, "activations");
          kernels.copy(copy, data);
          seen[state] = Promise.resolve(kernels.read(copy)).then((values) => Float64Array.from(values));
        },
      });
      const [wanted] = expected("loss");
      assertWithin("loss", [lossSum], [wanted as number], MULTIPLE * EPS * (wanted as number));
      for (const [state, dx] of seen.entries()) {
        const gradient = expected(`hidden_grad.${state}`);
        assertWithin(`hidden_grad.${state}`, await dx, gradient, 2e-5 * Math.max(1, largest(gradient)));
      }
    });
  }

  Deno.test(`what ${name} remembers of a source lies on ${backend}, and is shared by sequences that go on from one`, async () => {
    const { dir, batch, expected } = checkpointFixture(name);
    using kernels = cudaKernels({ compute: "f32", blockBytes: 1 << 20 });
    using model = openCheckpoint(dir, kernels);
    using cache = createKvCache(model, 9, 2, 12);
    const none = new Int32Array();
    const [begin, end] = [batch.source?.starts[2], batch.source?.starts[3]];
    await encodeSource(model, cache, [(batch.source?.ids as Int32Array).subarray(begin, end), none], {});
    await reorderCache(kernels, cache, Int32Array.of(0, 0), Int32Array.of(0, 0));
    const [first, last] = [batch.starts[2] as number, batch.starts[3] as number];
    const written = batch.ids.subarray(first, last);
    const { data } = await decodeStep(model, cache, [written, written], {});
    const width = model.config.vocabSize;
    const wanted = expected("outputs").slice((last - 1) * width, last * width);
    for (const s of [0, 1]) assertWithin(`${s}`, data.slice(s * width, (s + 1) * width), wanted, 1e-4);
  });
}
