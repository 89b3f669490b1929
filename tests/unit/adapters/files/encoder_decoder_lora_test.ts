// SPDX-License-Identifier: Apache-2.0
/** LoRAs of encoders with a decoder, as PEFT saves them, and as they are folded into the model. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { attachAdapter } from "../../../../lib/adapters/attach.ts";
import { openAdapterFiles } from "../../../../lib/adapters/files/adapter_files.ts";
import { readAdapterInto } from "../../../../lib/adapters/files/saved_adapter.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import { modelSites } from "../../../../lib/models/modules.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { liveGradient } from "../../../../lib/optim/parameters.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { comparisonBatch } from "../../../../lib/merge/merge_check.ts";
import { writeMergedCheckpoint } from "../../../../lib/merge/merged_checkpoint.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../../../lib/tensor/safetensors.ts";
import { saveAdapter } from "../../../../lib/train/adapters.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { readOracle } from "../../../fixtures/oracle.ts";

const FOLDER = join(
  dirname(fileURLToPath(import.meta.url)),
  "..",
  "..",
  "..",
  "fixtures",
  "encoder_decoder_loras",
);

for (const [name, checkpoint] of [["products", "bart"], ["cross", "mbart"]] as const) {
  Deno.test(`${name}, saved by PEFT, gives torch's outputs and gradients, and is saved again and merged`, async () => {
    const { dir, batch } = checkpointFixture(`encoder_decoders/${checkpoint}`);
    const folder = join(FOLDER, name);
    const { expected } = readOracle(folder);
    const k = referenceKernels();
    using base = openCheckpoint(dir, k);
    const saved = await openAdapterFiles(folder);
    const params = resolveAdapter(saved.spec, base.config).adapter.create(k, base, batch.ids.length);
    readAdapterInto(base, saved, params);
    const { model, hooks } = attachAdapter(base, params, k);
    assertWithin("outputs", (await forwardLogits(model, batch, hooks)).data, expected("outputs"), 1e-9);
    await lossAndGradients(model, batch, hooks, {
      activations: "recompute",
      lossScale: 1 / batch.targetCount,
    });
    for (const parameter of params.parameters) {
      assertWithin(parameter.name, liveGradient(parameter), expected(`grad.${parameter.name}`), 1e-9);
    }
    await withFolder(async (out) => {
      await saveAdapter(base, params, out);
      const [theirs, ours] = [folder, out].map((place) =>
        readSafetensorsHeader(join(place, "adapter_model.safetensors")).tensors
      );
      assert.deepEqual([...ours!.keys()].sort(), [...theirs!.keys()].sort());
      for (const [tensor, entry] of theirs!) {
        const own = readTensor(ours!.get(tensor) as TensorEntry, "f64");
        assertSame(own, Float64Array.from(readTensor(entry, "f32")));
      }
      const fields = JSON.parse(await Deno.readTextFile(join(out, "adapter_config.json")));
      assert.equal(fields.task_type, "SEQ_2_SEQ_LM");
    });
    await withFolder(async (out) => {
      await writeMergedCheckpoint(
        base,
        { changes: [...params.merge?.(k) ?? []], config: {}, dtype: null },
        out,
      );
      using merged = openCheckpoint(out, k);
      assertWithin("merged", (await forwardLogits(merged, batch, {})).data, expected("outputs"), 1e-5);
    });
  });
}

Deno.test("a merged encoder-decoder is compared by random texts, each with a source, no longer than it reads", async () => {
  using model = openCheckpoint(checkpointFixture("encoder_decoders/mbart").dir, referenceKernels());
  const { positions, source } = comparisonBatch(model);
  assert.equal(Math.max(...positions, ...source?.positions ?? []), model.config.maxPositionEmbeddings - 1);
  assert((await forwardLogits(model, comparisonBatch(model), {})).data.every(Number.isFinite));
});

Deno.test("copies of the embedding that a checkpoint has are left out where it is merged", async () => {
  const { dir, batch } = checkpointFixture("encoder_decoders/bart");
  const k = referenceKernels();
  using base = openCheckpoint(dir, k);
  const params = resolveAdapter({ kind: "full", options: {} }, base.config).adapter.create(k, base, 1);
  const shared = params.parameters.find(({ name }) => name === "model.shared.weight");
  assert(shared?.kind === "dense");
  shared.data.forEach((value, i) => shared.data[i] = value + Math.sin(i));
  const { model, hooks } = attachAdapter(base, params);
  const wanted = (await forwardLogits(model, batch, hooks)).data;
  await withFolder(async (out) => {
    await writeMergedCheckpoint(
      base,
      { changes: [...params.merge?.(k) ?? []], config: {}, dtype: null },
      out,
    );
    const { tensors } = readSafetensorsHeader(join(out, "model.safetensors"));
    assert.deepEqual([...tensors.keys()].filter((name) => name.includes("embed_tokens")), []);
    using merged = openCheckpoint(out, k);
    assertWithin("merged", (await forwardLogits(merged, batch, {})).data, wanted, 1e-5);
  });
});

Deno.test("attention to the source has sites of its own, which PEFT takes in by itself", () => {
  using model = openCheckpoint(checkpointFixture("encoder_decoders/bart").dir, referenceKernels());
  const { words, peftDefault } = modelSites(model.config);
  assert.deepEqual([...words], [
    ["q", "self_attn.q_proj"],
    ["k", "self_attn.k_proj"],
    ["v", "self_attn.v_proj"],
    ["o", "self_attn.out_proj"],
    ["up", "fc1"],
    ["down", "fc2"],
    ["cross_q", "encoder_attn.q_proj"],
    ["cross_k", "encoder_attn.k_proj"],
    ["cross_v", "encoder_attn.v_proj"],
    ["cross_o", "encoder_attn.out_proj"],
  ]);
  assert.deepEqual(peftDefault, ["q", "v", "cross_q", "cross_v"]);
});

Deno.test("a classifier stays one whose stacks share an embedding when it is merged", async () => {
  const k = referenceKernels();
  for (const name of ["bart_labels", "mbart_value"]) {
    const { dir, batch } = checkpointFixture(`encoder_decoders/${name}`);
    using model = openCheckpoint(dir, k);
    await withFolder(async (out) => {
      await writeMergedCheckpoint(model, { changes: [], config: {}, dtype: null }, out);
      using merged = openCheckpoint(out, k);
      assertSame((await forwardLogits(merged, batch, {})).data, (await forwardLogits(model, batch, {})).data);
    });
  }
});
