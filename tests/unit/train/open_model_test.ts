// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { MissingTokenizerError } from "../../../lib/data/tokenizer.ts";
import { trainableModel } from "../../../lib/models/trainable.ts";
import { cudaState } from "../../../lib/native/cuda.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { loadDataFor, openModel } from "../../../lib/train/open_model.ts";

const MODELS = fileURLToPath(new URL("../../fixtures/models/", import.meta.url));

Deno.test("openModel() opens a folder without a tokenizer, and says so when one is asked for", async () => {
  using model = await openModel(`${MODELS}llama_biases`, { kernels: referenceKernels() });
  assert.equal(model.config.modelType, "llama");
  assert.throws(() => model.tokenizer, MissingTokenizerError);
  using trained = trainableModel(model);
  assert.equal(trained.dir, model.dir);
  assert.throws(() => loadDataFor("rows.jsonl", model), /has no tokenizer\.json/);
});

Deno.test("openModel() reports a folder that is no checkpoint, and a device that is not there", async () => {
  const kernels = referenceKernels();
  await assert.rejects(openModel(`${MODELS}nowhere`, { kernels }), /config\.json/);
  if (cudaState().problem !== null) {
    await assert.rejects(
      openModel(`${MODELS}llama_biases`, { device: "cuda" }),
      /device is cuda, but .+use device cpu/,
    );
  }
});
