// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { readConfig } from "../../../lib/models/load.ts";
import type { ModelConfig } from "../../../lib/models/model.ts";

type Fields = Record<string, unknown>;

/** Reads the fields as a config.json, beside a generation_config.json if given. */
function read(fields: Fields, generation?: Fields): { config: ModelConfig | null; problems: string[] } {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(join(folder, "config.json"), JSON.stringify(fields));
    if (generation) {
      Deno.writeTextFileSync(join(folder, "generation_config.json"), JSON.stringify(generation));
    }
    const problems: string[] = [];
    return { config: readConfig(folder, problems), problems };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function readGood(fields: Fields, generation?: Fields): ModelConfig {
  const { config, problems } = read(fields, generation);
  assert.deepEqual(problems, []);
  assert(config !== null);
  return config;
}

const LLAMA: Fields = {
  model_type: "llama",
  hidden_size: 24,
  intermediate_size: 37,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  vocab_size: 61,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
};
const QWEN2: Fields = { ...LLAMA, model_type: "qwen2", num_key_value_heads: 2 };

// Configurations as published, by family and by the version of transformers that wrote them.
const LLAMA_2: Fields = {
  _name_or_path: "meta-llama/Llama-2-7b-hf",
  architectures: ["LlamaForCausalLM"],
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: "silu",
  hidden_size: 4096,
  initializer_range: 0.02,
  intermediate_size: 11008,
  max_position_embeddings: 4096,
  model_type: "llama",
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 32,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  tie_word_embeddings: false,
  torch_dtype: "float16",
  transformers_version: "4.31.0.dev0",
  use_cache: true,
  vocab_size: 32000,
};
const LLAMA_32: Fields = {
  ...LLAMA_2,
  attention_bias: false,
  attention_dropout: 0.0,
  bos_token_id: 128000,
  eos_token_id: [128001, 128008, 128009],
  head_dim: 64,
  hidden_size: 2048,
  max_position_embeddings: 131072,
  mlp_bias: false,
  num_key_value_heads: 8,
  rope_scaling: {
    factor: 32.0,
    high_freq_factor: 4.0,
    low_freq_factor: 1.0,
    original_max_position_embeddings: 8192,
    rope_type: "llama3",
  },
  rope_theta: 500000.0,
  tie_word_embeddings: true,
  vocab_size: 128256,
};
const MISTRAL_01: Fields = {
  architectures: ["MistralForCausalLM"],
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: "silu",
  hidden_size: 4096,
  initializer_range: 0.02,
  intermediate_size: 14336,
  max_position_embeddings: 32768,
  model_type: "mistral",
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-5,
  rope_theta: 10000.0,
  sliding_window: 4096,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
  transformers_version: "4.34.0.dev0",
  use_cache: true,
  vocab_size: 32000,
};
const QWEN_25: Fields = {
  architectures: ["Qwen2ForCausalLM"],
  attention_dropout: 0.0,
  bos_token_id: 151643,
  eos_token_id: 151645,
  hidden_act: "silu",
  hidden_size: 896,
  initializer_range: 0.02,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 21,
  model_type: "qwen2",
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  transformers_version: "4.43.1",
  use_cache: true,
  use_mrope: false,
  use_sliding_window: false,
  vocab_size: 151936,
};
const QWEN_3: Fields = {
  ...QWEN_25,
  architectures: ["Qwen3ForCausalLM"],
  attention_bias: false,
  head_dim: 128,
  hidden_size: 1024,
  max_window_layers: 28,
  model_type: "qwen3",
  num_attention_heads: 16,
  num_hidden_layers: 28,
  num_key_value_heads: 8,
  rope_scaling: null,
  sliding_window: null,
};

Deno.test("readConfig() reads Llama 2 and Llama 3.2 as published", () => {
  const old = readGood(LLAMA_2);
  assert.equal(old.headDim, 128);
  assert.equal(old.ropeTheta, 10000);
  assert.equal(old.ropeScaling, null);
  assert.deepEqual(old.eosTokenIds, [2]);
  const recent = readGood(LLAMA_32);
  assert.deepEqual(recent.ropeScaling, {
    type: "llama3",
    factor: 32,
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalMaxPositionEmbeddings: 8192,
  });
  assert.deepEqual([recent.ropeTheta, recent.headDim, recent.tieWordEmbeddings], [500000, 64, true]);
  assert.deepEqual(recent.eosTokenIds, [128001, 128008, 128009]);
});

Deno.test("readConfig() reads Mistral's window, none when null, and transformers' default when absent", () => {
  const windows = (fields: Fields) => new Set(readGood(fields).slidingWindows);
  assert.deepEqual(windows(MISTRAL_01), new Set([4096]));
  assert.deepEqual(windows({ ...MISTRAL_01, sliding_window: null }), new Set([0]));
  const { sliding_window: _, ...absent } = MISTRAL_01;
  assert.deepEqual(windows(absent), new Set([4096]));
  assert.match(
    read({ ...MISTRAL_01, layer_types: new Array(32).fill("full_attention") }).problems.join(),
    /"layer_types".*expected "sliding_attention" throughout/,
  );
});

Deno.test("readConfig() reads Qwen 2.5 and Qwen 3 as published", () => {
  const older = readGood(QWEN_25);
  assert.deepEqual(new Set(older.slidingWindows), new Set([0]));
  assert.deepEqual(older.attentionBias, { qkv: true, o: false });
  assert.equal(older.headDim, 64);
  const recent = readGood(QWEN_3);
  assert.deepEqual([recent.headDim, recent.headNorms, recent.attentionBias.qkv], [128, true, false]);
});

Deno.test("readConfig() gives qwen layers windows by max_window_layers, or by layer_types", () => {
  const on = { ...QWEN2, use_sliding_window: true, sliding_window: 5, max_window_layers: 2 };
  assert.deepEqual(readGood(on).slidingWindows, [0, 0, 5]);
  const types = ["sliding_attention", "full_attention", "sliding_attention"];
  assert.deepEqual(readGood({ ...on, layer_types: types }).slidingWindows, [5, 0, 5]);
  assert.deepEqual(readGood({ ...on, use_sliding_window: false }).slidingWindows, [0, 0, 0]);
  assert.match(
    read({ ...on, use_sliding_window: false, layer_types: types }).problems.join(),
    /"layer_types".*while use_sliding_window is off/,
  );
});

Deno.test("readConfig() reads rotary fields in their older and newer places alike", () => {
  const yarn = { factor: 4, original_max_position_embeddings: 16, beta_fast: 8 };
  const newer = readGood({ ...LLAMA, rope_parameters: { rope_type: "yarn", rope_theta: 5000, ...yarn } });
  const older = readGood({
    ...LLAMA,
    rope_theta: 5000,
    rope_scaling: { type: "yarn", finetuned: true, ...yarn },
  });
  assert.deepEqual(newer, older);
  assert.equal(newer.ropeTheta, 5000);
  assert.equal(newer.ropeScaling?.type, "yarn");
  assert.equal(readGood({ ...LLAMA, rope_parameters: { rope_type: "default", rope_theta: 7 } }).ropeTheta, 7);
});

Deno.test("readConfig() takes begin and end tokens from generation_config.json first", () => {
  const fields = { ...LLAMA, bos_token_id: 1, eos_token_id: 2 };
  const own = readGood(fields, { eos_token_id: [3, 4], temperature: 0.6 });
  assert.deepEqual([own.bosTokenId, own.eosTokenIds], [1, [3, 4]]);
  assert.deepEqual(readGood(fields, { eos_token_id: null }).eosTokenIds, [2]);
  assert.match(
    read(fields, { eos_token_id: "end" }).problems.join(),
    /^generation_config\.json: .*"eos_token_id" is "end"/,
  );
});

/** Changed fields, and what must be said of each. */
const WRONG: readonly [fields: Fields, problem: RegExp][] = [
  [
    { ...LLAMA, model_type: "lama" },
    /"model_type" is "lama", expected one of llama, .*; did you mean "llama"\?/,
  ],
  [
    { ...LLAMA, model_type: undefined },
    /"model_type" is missing, expected one of llama/,
  ],
  [{ ...LLAMA, architectures: ["LlamaForSequenceClassification"] }, /"architectures".*LlamaForCausalLM/],
  [{ ...LLAMA, hidden_act: "gelu" }, /"hidden_act" is "gelu", expected "silu"/],
  [{ ...LLAMA, quantization_config: { quant_method: "gptq" } }, /"quantization_config".*gptq.*quantized/],
  [{ ...LLAMA, rope_scaling: { rope_type: "longrope" } }, /"rope_scaling\.rope_type" is "longrope"/],
  [{ ...LLAMA, rope_scaling: { type: "mrope" } }, /"rope_scaling\.type" is "mrope"/],
  [{ ...LLAMA, rope_scaling: { type: "linear" } }, /"rope_scaling\.factor" is missing/],
  [
    { ...LLAMA, rope_scaling: { type: "linear", factor: 2, speed: 3 } },
    /"rope_scaling\.speed" \(3\) is unknown/,
  ],
  [
    { ...LLAMA, rope_parameters: { rope_type: "default", partial_rotary_factor: 0.5 } },
    /partial_rotary_factor/,
  ],
  [{ ...LLAMA, rope_scaling: "linear" }, /"rope_scaling" is "linear", expected an object/],
  [{ ...LLAMA, num_key_value_heads: 3 }, /"num_key_value_heads" is 3, expected a divisor of the 4/],
  [{ ...LLAMA, num_attention_heads: 5 }, /"head_dim" is missing, .*5 heads do not divide the hidden size 24/],
  [{ ...LLAMA, head_dim: 7 }, /"head_dim" is 7, expected an even number, not 7/],
  [{ ...LLAMA, vocab_size: 0 }, /"vocab_size" is 0, expected a whole number of at least 1/],
  [{ ...LLAMA, vocab_size: 1.5 }, /"vocab_size" is 1.5/],
  [{ ...LLAMA, rms_norm_eps: "small" }, /"rms_norm_eps" is "small", expected a number above 0/],
  [{ ...LLAMA, tie_word_embeddings: 1 }, /"tie_word_embeddings" is 1, expected true or false/],
  [{ ...LLAMA, layer_types: ["sliding_attention", "full_attention", "full_attention"] }, /"layer_types"/],
  [{ ...LLAMA, sliding_window: 8 }, /"sliding_window" \(8\) is unknown/],
  [{ ...QWEN2, attention_bias: false }, /"attention_bias" \(false\) is unknown/],
  [{ ...LLAMA, is_decoder: true }, /"is_decoder" is true, expected false/],
];

for (const [fields, problem] of WRONG) {
  Deno.test(`readConfig() refuses what ${problem.source} says`, () => {
    const { config, problems } = read(fields);
    assert.equal(config, null);
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.match(problems[0] as string, problem);
  });
}

Deno.test("readConfig() lists all missing and unknown fields at once", () => {
  const { hidden_size: _, rms_norm_eps: __, ...rest } = LLAMA;
  const { problems } = read({ ...rest, head_dim: 6, alibi: true, logit_scale: 2, _name_or_path: "x" });
  assert.equal(problems.length, 4, problems.join("\n"));
  for (const name of ["hidden_size", "rms_norm_eps", "alibi", "logit_scale"]) {
    assert(problems.some((problem) => problem.includes(`"${name}"`)), name);
  }
});
