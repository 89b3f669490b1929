// SPDX-License-Identifier: Apache-2.0
/** Configurations of BART and mBART as the hub has them. */
import assert from "node:assert/strict";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { readTensor } from "../../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../../lib/tensor/safetensors.ts";
import { writeSafetensors } from "../../../../lib/tensor/write_safetensors.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { parseConfig, readConfig } from "../../../../lib/models/read_config.ts";
import { allTensors } from "../../../../lib/models/part_tensors.ts";
import { countedElements, namedParts } from "../../../../lib/models/tensor_names.ts";

type Fields = Readonly<Record<string, unknown>>;

/** What most of them say. */
const COMMON: Fields = {
  activation_dropout: 0.1,
  activation_function: "gelu",
  add_bias_logits: false,
  add_final_layer_norm: false,
  architectures: ["BartForConditionalGeneration"],
  attention_dropout: 0.1,
  bos_token_id: 0,
  classif_dropout: 0.1,
  classifier_dropout: 0.0,
  d_model: 1024,
  decoder_attention_heads: 16,
  decoder_ffn_dim: 4096,
  decoder_layerdrop: 0.0,
  decoder_layers: 12,
  decoder_start_token_id: 2,
  dropout: 0.1,
  early_stopping: true,
  encoder_attention_heads: 16,
  encoder_ffn_dim: 4096,
  encoder_layerdrop: 0.0,
  encoder_layers: 12,
  eos_token_id: 2,
  forced_eos_token_id: 2,
  gradient_checkpointing: false,
  id2label: { "0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2" },
  init_std: 0.02,
  is_encoder_decoder: true,
  label2id: { LABEL_0: 0, LABEL_1: 1, LABEL_2: 2 },
  max_position_embeddings: 1024,
  model_type: "bart",
  normalize_before: false,
  num_hidden_layers: 12,
  pad_token_id: 1,
  scale_embedding: false,
  transformers_version: "4.7.0.dev0",
  use_cache: true,
  vocab_size: 50265,
};

const MBART: Fields = {
  ...COMMON,
  add_final_layer_norm: true,
  architectures: ["MBartForConditionalGeneration"],
  model_type: "mbart",
  normalize_before: true,
  normalize_embedding: true,
  scale_embedding: true,
  static_position_embeddings: false,
  output_past: true,
};

/** Name on the hub: its fields, and the parameters that transformers counts. */
const HUB: Readonly<Record<string, readonly [fields: Fields, parameters: number]>> = {
  "facebook/bart-base": [{
    ...COMMON,
    architectures: ["BartModel"],
    d_model: 768,
    decoder_attention_heads: 12,
    decoder_ffn_dim: 3072,
    decoder_layers: 6,
    encoder_attention_heads: 12,
    encoder_ffn_dim: 3072,
    encoder_layers: 6,
    num_hidden_layers: 6,
    forced_bos_token_id: 0,
    no_repeat_ngram_size: 3,
    normalize_embedding: true,
    num_beams: 4,
    task_specific_params: {
      summarization: { length_penalty: 1.0, max_length: 128, min_length: 12, num_beams: 4 },
    },
    torch_dtype: "float32",
  }, 139_420_416],
  "facebook/bart-large": [{ ...COMMON, architectures: ["BartModel"], no_repeat_ngram_size: 3 }, 406_291_456],
  "facebook/bart-large-cnn": [{
    ...COMMON,
    _num_labels: 3,
    force_bos_token_to_be_generated: true,
    forced_bos_token_id: 0,
    length_penalty: 2.0,
    max_length: 142,
    min_length: 56,
    no_repeat_ngram_size: 3,
    num_beams: 4,
    output_past: true,
    prefix: " ",
    replacing_rate: 0,
    static_position_embeddings: false,
    student_decoder_layers: null,
    student_encoder_layers: null,
    task_specific_params: { summarization: { early_stopping: true, length_penalty: 2.0 } },
    vocab_size: 50264,
  }, 406_290_432],
  "facebook/bart-large-xsum": [{
    ...COMMON,
    eos_token_ids: [2],
    extra_pos_embeddings: 2,
    max_length: 62,
    min_length: 11,
    num_beams: 6,
    normalize_embedding: true,
    save_step: 0,
    static_position_embeddings: false,
    vocab_size: 50264,
  }, 406_290_432],
  "facebook/mbart-large-cc25": [{
    ...MBART,
    decoder_start_token_id: undefined,
    max_length: 1024,
    vocab_size: 250027,
  }, 610_851_840],
  "facebook/mbart-large-50": [{
    ...MBART,
    _name_or_path: "/home/suraj/projects/mbart-50/hf_models/mbart-50-large/",
    activation_function: "gelu",
    max_length: 200,
    num_beams: 5,
    vocab_size: 250054,
    tokenizer_class: "MBart50Tokenizer",
  }, 610_879_488],
};

/** As JSON has them. */
function plain(fields: Fields): Record<string, unknown> {
  return JSON.parse(JSON.stringify(fields));
}

for (const [name, [fields, parameters]] of Object.entries(HUB)) {
  Deno.test(`the configuration of ${name} is read, with as many parameters as transformers counts`, () => {
    const [problems, warnings]: [string[], string[]] = [[], []];
    const config = parseConfig(plain(fields), problems, warnings);
    assert.deepEqual(problems, []);
    assert(config);
    // A bias of logits beside them, which is none to transformers.
    assert.equal(countedElements(config) - config.vocabSize, parameters);
    const isMbart = fields["model_type"] === "mbart";
    assert.equal(config.decoderIds?.shiftedIn, isMbart ? "last" : 2);
    assert.equal(config.decoderIds?.forcedBosTokenId, fields["forced_bos_token_id"] ?? null);
    assert.equal(config.decoderIds?.forcedEosTokenId, 2);
  });
}

Deno.test("generation_config.json says what a decoder begins and ends with, training goes on as config.json says", () =>
  withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(COMMON));
    const ids = {
      decoder_start_token_id: 5,
      forced_bos_token_id: 6,
      forced_eos_token_id: null,
      eos_token_id: 3,
    };
    await Deno.writeTextFile(`${folder}/generation_config.json`, JSON.stringify(ids));
    const problems: string[] = [];
    const config = readConfig(folder, problems);
    assert.deepEqual(problems, []);
    assert.deepEqual(config?.decoderIds, {
      startTokenId: 5,
      forcedBosTokenId: 6,
      forcedEosTokenId: null,
      shiftedIn: 2,
    });
    assert.deepEqual(config?.eosTokenIds, [3]);
  }));

Deno.test("embeddings that are not tied are those of each stack, and the head is one of its own", () => {
  const config = parseConfig(plain({ ...COMMON, tie_word_embeddings: false }), []);
  assert(config);
  const tables = allTensors(namedParts(config)).filter(({ rows }) => rows === config.vocabSize);
  assert.deepEqual(tables.map(({ name }) => name), [
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
  ]);
});

Deno.test("what BART does not compute is refused by name, once", () => {
  const problemsOf = (own: Fields): string[] => {
    const problems: string[] = [];
    parseConfig(plain({ ...COMMON, ...own }), problems);
    return problems;
  };
  const alone = problemsOf({
    architectures: ["BartForCausalLM"],
    is_decoder: true,
    is_encoder_decoder: false,
  });
  assert.match(alone.join("\n"), /decoder alone, which is not supported: only BartForConditionalGeneration/);
  assert.equal(alone.length, 1);
  assert.match(
    problemsOf({ architectures: ["BartForQuestionAnswering"] }).join("\n"),
    /"architectures".*BartForQuestionAnswering/,
  );
  assert.match(
    problemsOf({ normalize_before: true }).join("\n"),
    /"normalize_before" is true, expected false/,
  );
  assert.match(problemsOf({ extra_pos_embeddings: 0 }).join("\n"), /"extra_pos_embeddings" is 0, expected 2/);
  assert.match(
    problemsOf({ decoder_attention_heads: 7 }).join("\n"),
    /"decoder_attention_heads" is 7, expected a divisor/,
  );
  assert.match(
    problemsOf({ num_hidden_layers: 6 }).join("\n"),
    /"num_hidden_layers" \(6\) and "encoder_layers" \(12\) differ/,
  );
});

Deno.test("a copy of the embedding that differs is refused by name, one that stands alone is taken", () =>
  withFolder(async (folder) => {
    const { dir } = checkpointFixture("encoder_decoders/bart");
    await Deno.copyFile(`${dir}/config.json`, `${folder}/config.json`);
    const { tensors } = readSafetensorsHeader(`${dir}/model.safetensors`);
    const write = (change: (name: string, values: Float32Array) => Float32Array | null) =>
      writeSafetensors(
        `${folder}/model.safetensors`,
        [...tensors.values()].flatMap((entry) => {
          const values = change(entry.name, readTensor(entry, "f32"));
          return values === null
            ? []
            : [{ name: entry.name, dtype: "f32" as const, shape: entry.shape, data: () => [values] }];
        }),
        { format: "pt" },
      );
    const open = () => openCheckpoint(folder, referenceKernels());
    const copy = "encoder.embed_tokens.weight";
    await write((name, values) => name === copy ? values.map((value) => value + 1) : values);
    assert.throws(
      open,
      /"model.encoder.embed_tokens.weight" differs from "model.shared.weight", which it should be a copy of/,
    );
    await write((name, values) =>
      name === "shared.weight" || name.startsWith("decoder.embed_tokens") ? null : values
    );
    using alone = open();
    assert.equal(alone.checkpoint.tensors.get("model.shared.weight")?.shape[0], 23);
    await write((name, values) => /shared|embed_tokens/.test(name) ? null : values);
    assert.throws(open, /Tensor "model.shared.weight" \(23,8\) is missing/);
  }));
