// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Dataset, exampleLength } from "../../../lib/data/dataset.ts";
import { MissingTokenizerError } from "../../../lib/data/tokenizer_files.ts";
import { trainableModel } from "../../fixtures/trainable_model.ts";
import { cudaState } from "../../../lib/native/cuda.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { loadData } from "../../../lib/data/load_data.ts";
import { loadModel, type OpenModel, preview } from "../../../lib/train/open_model.ts";
import { fixtureTokenizer, withLines } from "../data/fixtures.ts";

const MODELS = fileURLToPath(new URL("../../fixtures/models/", import.meta.url));

Deno.test("loadModel() opens a folder without a tokenizer, and says so when one is asked for", async () => {
  using model = await loadModel(`${MODELS}llama_biases`, { kernels: referenceKernels() });
  assert.equal(model.config.modelType, "llama");
  assert.throws(() => model.tokenizer, MissingTokenizerError);
  using trained = trainableModel(model);
  assert.equal(trained.dir, model.dir);
  await assert.rejects(loadData("rows.jsonl", model), /has no tokenizer\.json/);
});

Deno.test("loadModel() reports a folder that is no checkpoint, and a device that is not there", async () => {
  const kernels = referenceKernels();
  await assert.rejects(loadModel(`${MODELS}nowhere`, { kernels }), /config\.json/);
  if (cudaState().problem !== null) {
    await assert.rejects(
      loadModel(`${MODELS}llama_biases`, { device: "cuda" }),
      /device is cuda, but .+use device cpu/,
    );
  }
});

Deno.test("loadData() takes rows of 256 tokens at most unless another length is given, and every other option", async () => {
  const model = { tokenizer: await fixtureTokenizer("byte_level") } as OpenModel;
  const rows = Array.from({ length: 5 }, () => ({ prompt: " the the the", completion: " the".repeat(400) }));
  await withLines(rows, async (path) => {
    const options = { chatTemplate: "off", cache: false } as const;
    const longest = (data: Dataset) => exampleLength(data, 0);
    const data = await loadData(path, model, options);
    assert.deepEqual([data.seqLen, longest(data)], [256, 256]);
    const short = await loadData(path, model, { ...options, seqLen: 9, lossOn: "all" });
    assert.deepEqual([short.seqLen, longest(short)], [9, 9]);
    assert.ok(
      short.report.targets > (await loadData(path, model, { ...options, seqLen: 9 })).report.targets,
    );
    const shown = (count?: number, color = false) => preview(short, model, count, { color });
    const count = (text: string) => text.match(/rows\.jsonl:\d/g)?.length;
    assert.deepEqual([count(shown()), count(shown(2)), count(preview(short, model))], [3, 2, 3]);
    assert.deepEqual([shown().includes("\u001b["), shown(2, true).includes("\u001b[")], [false, true]);
  });
});

Deno.test("loadModel() leaves kernels that it was given to whoever gave them", async () => {
  const reference = referenceKernels();
  let disposed = 0;
  const kernels = Object.assign(reference, { [Symbol.dispose]: () => void disposed++ });
  {
    using model = await loadModel(`${MODELS}llama_biases`, { kernels });
    assert.equal(model.kernels, kernels);
  }
  await assert.rejects(loadModel(`${MODELS}nowhere`, { kernels }));
  assert.equal(disposed, 0);
});
