// SPDX-License-Identifier: Apache-2.0
/** What configurations and checkpoints of single families have of their own, read as transformers reads it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { createKvCache } from "../../../../lib/models/engine/kv_cache.ts";
import { forwardLogits } from "../../../../lib/models/engine/pass.ts";
import { LM_HEAD } from "../../../../lib/models/heads/head_config.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { lowestOf } from "../../../../lib/models/parts.ts";
import { parseConfig } from "../../../../lib/models/read_config.ts";
import { namedParts, storedName } from "../../../../lib/models/tensor_names.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader, type TensorEntry } from "../../../../lib/tensor/safetensors.ts";
import { type TensorSource, writeSafetensors } from "../../../../lib/tensor/write_safetensors.ts";
import { openTask } from "../../../../lib/train/open_task.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { assertSame } from "../../../compare.ts";

type Fields = Record<string, unknown>;

const fieldsOf = (dir: string): Fields => JSON.parse(Deno.readTextFileSync(join(dir, "config.json")));

function read(fields: Fields) {
  const [problems, warnings]: string[][] = [[], []];
  return { config: parseConfig(fields, problems as string[], warnings), problems, warnings };
}

Deno.test("opt: what Galactica's configurations say of its embeddings is so anyway, or refused", () => {
  const fields = fieldsOf(modelFixture("opt").dir);
  const own = read({ ...fields, learned_embeddings: true, scale_embeddings: false });
  assert.deepEqual([own.problems, own.warnings], [[], []]);
  assert.match(
    read({ ...fields, learned_embeddings: false }).problems!.join(),
    /"learned_embeddings" \(false\)/,
  );
  assert.match(read({ ...fields, scale_embeddings: true }).problems!.join(), /"scale_embeddings" \(true\)/);
});

Deno.test("gpt2, distilbert: fields may have the names that most families have; two that differ are refused", () => {
  const gpt2 = fieldsOf(modelFixture("gpt2").dir);
  const { n_embd, n_layer, n_head, n_positions, ...rest } = gpt2;
  const general = { hidden_size: n_embd, num_hidden_layers: n_layer, num_attention_heads: n_head };
  const renamed = { ...rest, ...general, max_position_embeddings: n_positions };
  assert.deepEqual(read(renamed).config, read(gpt2).config);
  assert.deepEqual(read({ ...gpt2, ...general }).problems, []);
  assert.match(
    read({ ...gpt2, hidden_size: 8 }).problems!.join(),
    /^config.json: Fields "hidden_size" \(8\) and "n_embd" \(20\) differ: keep one$/,
  );
  const distilbert = fieldsOf(checkpointFixture("encoders/distilbert_masked").dir);
  const { dim, ...others } = distilbert;
  assert.deepEqual(read({ ...others, hidden_size: dim }).config, read(distilbert).config);
});

Deno.test("bart: sizes of the encoder may have the names that most families have; others than its own are refused", () => {
  const bart = fieldsOf(checkpointFixture("encoder_decoders/bart").dir);
  const { encoder_attention_heads: heads, encoder_layers: layers, ...rest } = bart;
  const general = { ...rest, num_attention_heads: heads, num_hidden_layers: layers };
  assert.deepEqual(read(general).config, read(bart).config);
  // transformers builds as many layers as this says, its maker's code as many as that.
  assert.match(
    read({ ...bart, num_hidden_layers: Number(layers) + 1 }).problems!.join(),
    /Fields "num_hidden_layers" \(3\) and "encoder_layers" \(2\) differ: keep one/,
  );
});

Deno.test("gemma3_text: scores have no cap, whatever attn_logit_softcapping says, and its user is told", () => {
  const { config, warnings } = read({
    ...fieldsOf(modelFixture("gemma3_text").dir),
    attn_logit_softcapping: 2,
  });
  assert.equal(lowestOf(namedParts(config!), "attention")!.softcap, 0);
  assert.match(warnings!.join(), /"attn_logit_softcapping" is passed over/);
});

Deno.test("gemma3_text: one that sees both ways classifies, and is asked for no next token", async () => {
  const { dir } = checkpointFixture("heads/gemma3_both_ways");
  const refusal = /see what comes after them .* --task classification and regression$/;
  await assert.rejects(openTask({ task: "causal-lm", model: dir, data: [] }), refusal);
  await assert.rejects(openTask({ task: "multiple-choice", model: dir, data: [] }), refusal);
  assert.equal((await openTask({ model: dir, data: [] })).task.name, "classification");
  using model = openCheckpoint(dir, referenceKernels(), { head: LM_HEAD });
  assert.throws(() => createKvCache(model, 4), refusal);
});

Deno.test("bert: another kind of problem is refused in one sentence", () => {
  const fields = fieldsOf(checkpointFixture("encoders/bert_labels").dir);
  const { problems } = read({ ...fields, problem_type: "multi_label_classification" });
  assert.equal(problems!.length, 1, problems!.join("\n"));
});

const DECODER_BIAS = "cls.predictions.decoder.bias";
const BIAS = "cls.predictions.bias";

/** Opens the masked BERT with other tensors. */
async function withBert<T>(
  change: (tensors: TensorSource[]) => TensorSource[],
  use: (model: Model, logits: Float64Array) => Promise<T> | T,
): Promise<T> {
  const { dir, batch } = checkpointFixture("encoders/bert_masked");
  const folder = await Deno.makeTempDir();
  try {
    const entries = [...readSafetensorsHeader(join(dir, "model.safetensors")).tensors.values()];
    const tensors = entries.map((entry): TensorSource => ({
      ...entry,
      dtype: "f32",
      data: readTensor(entry, "f32"),
    }));
    await writeSafetensors(join(folder, "model.safetensors"), change(tensors));
    Deno.copyFileSync(join(dir, "config.json"), join(folder, "config.json"));
    using model = openCheckpoint(folder, referenceKernels());
    return await use(model, Float64Array.from((await forwardLogits(model, batch, {})).data));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const bias = (name: string, value: number): TensorSource => ({
  name,
  dtype: "f32",
  shape: [41],
  data: new Float32Array(41).fill(value),
});
const without = (tensors: TensorSource[]) => tensors.filter(({ name }) => name !== BIAS);

Deno.test("bert: of two names for the head's bias the decoder's counts, as in transformers, and one is kept", async () => {
  const wanted = await withBert((all) => [...without(all), bias(BIAS, 3)], (_, logits) => logits);
  const alone = await withBert((all) => [...without(all), bias(DECODER_BIAS, 3)], (model, logits) => {
    assert.deepEqual([model.fresh.size, model.warnings.length], [0, 1]); // of the heads of pretraining
    return logits;
  });
  assertSame(alone, wanted);
  const both = await withBert(
    (all) => [...without(all), bias(DECODER_BIAS, 3), bias(BIAS, 9)],
    (model, logits) => {
      assert.match(
        model.warnings.join("\n"),
        /"cls\.predictions\.bias" is passed over.*"cls\.predictions\.decoder\.bias"/,
      );
      // Nothing stale is left for whoever writes the checkpoint anew.
      const left = model.checkpoint.files.flatMap(({ tensors }) => [...tensors.values()])
        .filter(({ name }) => name === BIAS || name === DECODER_BIAS);
      assert.deepEqual(left.map(({ name }) => name), [BIAS]);
      assert.equal(readTensor(left[0] as TensorEntry, "f32")[0], 3);
      return logits;
    },
  );
  assertSame(both, wanted);
});

Deno.test("bert: the bias of a head that is not tied is written where transformers reads it", () => {
  const { config } = read(fieldsOf(checkpointFixture("encoders/bert_masked").dir));
  assert.equal(storedName(config!, BIAS), BIAS);
  assert.equal(storedName({ ...config!, tieWordEmbeddings: false }, BIAS), DECODER_BIAS);
});
