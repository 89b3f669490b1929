// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { readConfig } from "../../../lib/models/read_config.ts";
import type { DecoderConfig } from "../../../lib/models/families/decoder_config.ts";
import { threadTimeMs } from "../../thread_time.ts";

type Fields = Record<string, unknown>;

interface Read {
  readonly config: DecoderConfig | null;
  readonly problems: string[];
  readonly warnings: string[];
}

/** Reads the fields as a config.json, beside a generation_config.json if given; or the text as it is. */
function read(fields: Fields | string, generation?: Fields): Read {
  const folder = Deno.makeTempDirSync();
  try {
    const text = typeof fields === "string" ? fields : JSON.stringify(fields);
    Deno.writeTextFileSync(join(folder, "config.json"), text);
    if (generation) {
      Deno.writeTextFileSync(join(folder, "generation_config.json"), JSON.stringify(generation));
    }
    const problems: string[] = [];
    const warnings: string[] = [];
    return { config: readConfig(folder, problems, warnings) as DecoderConfig | null, problems, warnings };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function readGood(fields: Fields, generation?: Fields): DecoderConfig {
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
  const types = new Array(32).fill("full_attention");
  assert.deepEqual(windows({ ...MISTRAL_01, layer_types: types }), new Set([0]));
  types[1] = "sliding_attention";
  assert.deepEqual(readGood({ ...MISTRAL_01, layer_types: types }).slidingWindows.slice(0, 3), [0, 4096, 0]);
  assert.match(
    read({ ...MISTRAL_01, layer_types: types, sliding_window: null }).problems.join(),
    /"layer_types".*no "sliding_attention" while sliding_window is null/,
  );
});

Deno.test("readConfig() reads Qwen 2.5 and Qwen 3 as published", () => {
  const older = readGood(QWEN_25);
  assert.deepEqual(new Set(older.slidingWindows), new Set([0]));
  assert.deepEqual(older.attentionBias, { qkv: true, o: false });
  assert.equal(older.headDim, 64);
  const recent = readGood(QWEN_3);
  assert.deepEqual([recent.headDim, recent.attentionBias.qkv], [128, false]);
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
    /"model_type" is "lama", expected one of .*llama, .*; did you mean "llama"\?/,
  ],
  [
    { ...LLAMA, model_type: undefined },
    /"model_type" is missing, expected one of .*llama/,
  ],
  [{ ...LLAMA, architectures: ["LlamaForTokenClassification"] }, /"architectures".*LlamaForCausalLM/],
  [{ ...LLAMA, hidden_act: "mish" }, /"hidden_act" is "mish", expected "silu" or "swish" or "gelu"/],
  [{ ...LLAMA, quantization_config: { quant_method: "gptq" } }, /"quantization_config".*gptq.*quantized/],
  [
    { ...LLAMA, rope_scaling: { rope_type: "longrope", short_factor: [1, 1, 1], long_factor: [1, 1] } },
    /"rope_scaling\.long_factor" is \[1,1\], expected 3 numbers above 0/,
  ],
  [
    { ...LLAMA, rope_parameters: { full_attention: { rope_type: "default" } } },
    /"rope_parameters\.full_attention" is .*expected no parameters of its own for a kind of layers/,
  ],
  [{ ...LLAMA, rope_scaling: { type: "mrope" } }, /"rope_scaling\.type" is "mrope"/],
  [{ ...LLAMA, rope_scaling: { type: "linear" } }, /"rope_scaling\.factor" is missing/],
  [
    { ...LLAMA, rope_scaling: { type: "linear", factor: 2, speed: 3 } },
    /"rope_scaling\.speed" \(3\) is unknown/,
  ],
  [
    { ...LLAMA, torch_dtype: "float16", dtype: "bfloat16" },
    /"torch_dtype" is "float16", expected "bfloat16", as dtype says/,
  ],
  [
    {
      ...LLAMA,
      rope_scaling: { type: "linear", factor: 2 },
      rope_parameters: { rope_type: "dynamic", factor: 2, rope_theta: 7 },
    },
    /"rope_scaling" is .*expected what rope_parameters says of "rope_type": keep one of them/,
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
  [
    { ...LLAMA, sliding_window: 8 },
    /"sliding_window" is 8, expected null, or at least the 64 of max_position/,
  ],
  [{ ...LLAMA, is_encoder_decoder: true }, /"is_encoder_decoder" is true, expected false/],
  [{ ...LLAMA, is_causal: false }, /"is_causal" \(false\) is unknown/],
  [{ ...LLAMA, is_causal: null }, /"is_causal" \(null\) is unknown/],
  [{ ...LLAMA, partial_rotary_factor: 0.5 }, /"partial_rotary_factor" is 0\.5, expected 1/],
  [{ ...LLAMA, model_type: ["llama"] }, /"model_type" is \["llama"\], expected one of .*llama/],
  [
    {
      ...LLAMA,
      original_max_position_embeddings: 1,
      rope_scaling: { rope_type: "longrope", short_factor: [1, 1, 1], long_factor: [1, 1, 1] },
    },
    /rope_theta 10000 and the rope scaling .*longrope.* give angles that are no numbers/,
  ],
  [{ ...LLAMA, eos_token_id: true }, /"eos_token_id" is true, expected a token id/],
  [{ ...LLAMA, eos_token_id: [1, "2"] }, /"eos_token_id" is \[1,"2"\], expected a token id/],
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
  const { hidden_size: _, vocab_size: __, ...rest } = LLAMA;
  const { problems } = read({ ...rest, head_dim: 6, alibi: true, logit_scale: 2, _name_or_path: "x" });
  assert.equal(problems.length, 4, problems.join("\n"));
  for (const name of ["hidden_size", "vocab_size", "alibi", "logit_scale"]) {
    assert(problems.some((problem) => problem.includes(`"${name}"`)), name);
  }
});

Deno.test("readConfig() warns of fields that are missing and have a default that matters", () => {
  const { rms_norm_eps: _, max_position_embeddings: __, ...rest } = LLAMA;
  const { config, warnings } = read(rest);
  assert.deepEqual([config?.rmsNormEps, config?.maxPositionEmbeddings], [1e-6, 2048]);
  assert.equal(warnings.length, 2);
  assert.match(warnings.join(), /"rms_norm_eps" is missing: 0\.000001 is taken/);
});

/** Fields nobody reads, and what becomes of each: nothing to say, a warning, or a refusal. */
const UNKNOWN: readonly [verdict: "accepted" | "warned of" | "refused", fields: Fields][] = [
  // What switches off says nothing, whatever it is called.
  ["accepted", {
    logit_softcapping: null,
    use_alibi: false,
    num_experts: 0,
    mup: "",
    extra_layers: [],
    quant: {},
  }],
  ["accepted", { final_logit_softcapping: null, attn_logit_softcapping: null, query_pre_attn_scalar: null }],
  // Provenance, training, generation, implementations.
  ["accepted", {
    unsloth_fixed: true,
    _commit_hash: "abc",
    auto_map: { AutoConfig: "a.B" },
    neftune_noise_alpha: 5,
  }],
  ["accepted", {
    attention_probs_dropout_prob: 0.1,
    resid_pdrop: 0.1,
    gradient_checkpointing: true,
    is_decoder: true,
  }],
  ["accepted", {
    _attn_implementation: "flash_attention_2",
    use_flash_attention_2: true,
    _flash_attn_2_enabled: true,
  }],
  ["accepted", {
    pretraining_tp: 4,
    fused_rms_norm: true,
    image_token_index: 32000,
    num_beams: 4,
    top_k: 50,
  }],
  // What is so anyway.
  ["accepted", { rotary_pct: 1, rotary_dim: 6, is_causal: true, norm_type: "RMSNorm", activation: "swiglu" }],
  ["accepted", {
    n_layer: 3,
    n_head: 4,
    n_embd: 24,
    layer_norm_eps: 1e-5,
    use_qk_norm: false,
    logit_scale: 1,
  }],
  ["accepted", { window_size: 4096, query_pre_attn_scalar: 6, position_embedding_type: "rope" }],
  // Of other parts, or of no known meaning.
  ["warned of", { mm_projector_type: "mlp2x_gelu", vision_config: { hidden_size: 3 }, medusa_num_heads: 3 }],
  ["warned of", { num_experts_per_tok: 2, router_aux_loss_coef: 0.01, norm_topk_prob: true }],
  ["warned of", { favourite_colour: "blue", trained_by: "someone", num_nextn_predict_layers: 1 }],
  // What would change the computation.
  ["refused", { embedding_multiplier: 12 }],
  ["refused", { residual_multiplier: 0.22 }],
  ["refused", { logits_scaling: 8 }],
  ["refused", { attention_multiplier: 1 }],
  ["refused", { final_logit_softcapping: 30 }],
  ["refused", { output_logit_soft_cap: 30 }],
  ["refused", { swiglu_limit: 7 }],
  ["refused", { dim_model_base: 256 }],
  ["refused", { learned_pos_emb: true }],
  ["refused", { clip_qkv: 8 }],
  ["refused", { use_qk_norm: true }],
  ["refused", { layer_norm_eps: 1e-6 }],
  ["refused", { norm_type: "layernorm" }],
  ["refused", { use_parallel_residual: true }],
  ["refused", { parallel_attn: true }],
  ["refused", { rope_local_base_freq: 10000 }],
  ["refused", { no_rope_layers: [1, 0, 1] }],
  ["refused", { rotary_dim: 4 }],
  ["refused", { rotary_pct: 0.25 }],
  ["refused", { position_embedding_type: "alibi" }],
  ["refused", { sliding_window_pattern: 6 }],
  ["refused", { attention_sinks: true }],
  ["refused", { attention_chunk_size: 16 }],
  ["refused", { qkv_bias: true }],
  ["refused", { hidden_activation: "gelu_pytorch_tanh" }],
  ["refused", { num_local_experts: 8 }],
  ["refused", { compression_config: { format: "pack-quantized" } }],
  ["refused", { quantization: { bits: 4, group_size: 64 } }],
  ["refused", { per_layer_config: { "0": { num_attention_heads: 2 } } }],
  ["refused", { transformers_weights: "other.safetensors" }],
  ["refused", { text_config: { hidden_size: 48 } }],
  ["refused", { num_layers: 5 }],
];

for (const [verdict, fields] of UNKNOWN) {
  Deno.test(`readConfig() of a field that it does not read: ${JSON.stringify(fields)} is ${verdict}`, () => {
    const { config, problems, warnings } = read({ ...LLAMA, ...fields });
    assert.equal(config === null, verdict === "refused", problems.join("\n"));
    assert.equal(warnings.length, verdict === "warned of" ? 1 : 0, warnings.join("\n"));
    for (const name of Object.keys(fields)) {
      if (verdict === "warned of") assert(warnings[0]?.includes(`"${name}"`), name);
      if (verdict === "refused") assert.match(problems.join(), new RegExp(`"${name}" \\(.*is unknown`));
    }
  });
}

Deno.test("readConfig() leaves out token ids that no token has, and says so", () => {
  const { config, warnings } = read({ ...LLAMA, eos_token_id: [2, 61], bos_token_id: -1 }, {
    eos_token_id: [-1, 5],
  });
  assert.deepEqual([config?.bosTokenId, config?.eosTokenIds], [null, [5]]);
  assert.equal(warnings.length, 3, warnings.join("\n"));
  assert.match(
    warnings.join("\n"),
    /^config\.json: .*"bos_token_id" is -1: no token of the 61 has such an id$/m,
  );
  assert.match(warnings.join("\n"), /^generation_config\.json: .*"eos_token_id" is \[-1,5\]/m);
});

Deno.test("readConfig() warns of a class of another name, and takes the model_type's, as transformers does", () => {
  for (const name of ["LlamaModel", "LLaMAForCausalLM", null]) {
    const { problems, warnings } = read({ ...LLAMA, architectures: name && [name] });
    assert.deepEqual([problems, warnings], [[], []], String(name));
  }
  const { problems, warnings } = read({ ...LLAMA, architectures: ["YiForCausalLM"] });
  assert.deepEqual(problems, []);
  assert.match(warnings.join(), /"architectures" is \["YiForCausalLM"\]: read as LlamaForCausalLM/);
});

/** Texts that are no configuration. */
const BAD_TEXTS: readonly [text: string, problem: RegExp][] = [
  [
    `{"model_type": "llama", "hidden_size": 24, "hidden_size": 48}`,
    /config\.json has the key "hidden_size" twice/,
  ],
  [
    `{"model_type": "llama", "rope_scaling": {"factor": 2, "type": "linear", "factor": 4}}`,
    /has the key "rope_scaling\.factor" twice/,
  ],
  [`{"model_type": "llama", "rms_norm_eps": NaN}`, /is not JSON: .*NaN and Infinity are no JSON numbers/],
  ["", /config\.json is not JSON/],
  ["null", /config\.json is not a JSON object/],
];

for (const [text, problem] of BAD_TEXTS) {
  Deno.test(`readConfig() refuses the text ${text || "of an empty file"}`, () => {
    const { config, problems } = read(text);
    assert.equal(config, null);
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.match(problems[0] as string, problem);
  });
}

/** Sizes that no model has, and the sentence about each. */
const ABSURD: readonly [fields: Fields, problem: RegExp][] = [
  [{ num_hidden_layers: 1e9 }, /"num_hidden_layers" is 1000000000, expected .* at most 10000$/],
  [{ num_hidden_layers: -1 }, /"num_hidden_layers" is -1, expected a whole number of at least 1$/],
  [{ vocab_size: 2 ** 40 }, /"vocab_size" is 1099511627776, expected .* at most 2147483647$/],
  [{ hidden_size: 1e12 }, /"hidden_size" is 1000000000000/],
  [{ intermediate_size: 0 }, /"intermediate_size" is 0, expected a whole number of at least 1$/],
  [{ intermediate_size: "37" }, /"intermediate_size" is "37", expected a whole number/],
  [{ head_dim: 1e9 }, /"head_dim" is 1000000000, expected .* at most 65536$/],
  [{ num_attention_heads: 1e15 }, /"num_attention_heads" is 1000000000000000/],
  [{ max_position_embeddings: 1e18 }, /"max_position_embeddings" is 1000000000000000000, .* at most/],
  [{ original_max_position_embeddings: 1e18 }, /"original_max_position_embeddings" is 1000000000000000000/],
  [
    { hidden_size: 2 ** 30 },
    /"head_dim" is missing, expected a value: 1073741824 \/ 4 is more than the 65536/,
  ],
  [{ num_attention_heads: 0, num_key_value_heads: 8 }, /"num_attention_heads" is 0/],
  [
    { hidden_size: 2 ** 30, head_dim: 64, vocab_size: 2 ** 30 },
    /hidden_size 1073741824, .* make 2\.31e\+18 parameters, more than the 100000000000000 allowed/,
  ],
  [{ rms_norm_eps: -1e-6 }, /"rms_norm_eps" is -0\.000001, expected a number above 0/],
];

for (const [fields, problem] of ABSURD) {
  Deno.test(`readConfig() refuses ${JSON.stringify(fields)} at once, by one sentence`, () => {
    const start = threadTimeMs();
    const { config, problems } = read({ ...LLAMA, ...fields });
    assert(threadTimeMs() - start < 1000);
    assert.equal(config, null);
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.match(problems[0] as string, problem);
  });
}

// What transformers 5 has of each configuration class with these sizes and nothing else.
const SIZES: Fields = {
  ...{
    hidden_size: 1024,
    intermediate_size: 96,
    num_hidden_layers: 30,
    num_attention_heads: 32,
    vocab_size: 61,
  },
};
const SHARED = {
  ...{
    rmsNormEps: 1e-6,
    ropeTheta: 10000,
    ropeScaling: null,
    tieWordEmbeddings: false,
    initializerRange: 0.02,
  },
  ...{ mlpBias: false, slidingWindows: new Array(30).fill(0) },
};
const NO_BIAS = { qkv: false, o: false };
const DEFAULTS: Readonly<Record<string, Partial<DecoderConfig>>> = {
  llama: {
    ...{ ...SHARED, numKeyValueHeads: 32, headDim: 32, maxPositionEmbeddings: 2048, attentionBias: NO_BIAS },
    ...{ bosTokenId: 1, eosTokenIds: [2] },
  },
  mistral: {
    ...{ ...SHARED, numKeyValueHeads: 8, headDim: 32, maxPositionEmbeddings: 131072, attentionBias: NO_BIAS },
    ...{ bosTokenId: 1, eosTokenIds: [2], slidingWindows: new Array(30).fill(4096) },
  },
  qwen2: {
    ...{ ...SHARED, numKeyValueHeads: 32, headDim: 32, maxPositionEmbeddings: 32768 },
    ...{ bosTokenId: null, eosTokenIds: [], attentionBias: { qkv: true, o: false } },
  },
  qwen3: {
    ...{
      ...SHARED,
      numKeyValueHeads: 32,
      headDim: 128,
      maxPositionEmbeddings: 32768,
      attentionBias: NO_BIAS,
    },
    ...{ bosTokenId: null, eosTokenIds: [] },
  },
};

for (const [family, expected] of Object.entries(DEFAULTS)) {
  Deno.test(`what stands for missing fields of ${family} is what transformers takes`, () => {
    const config = readGood({ ...SIZES, model_type: family });
    assert.deepEqual({ ...config, ...expected }, config);
  });
}

Deno.test("windows of the qwen families that are switched on without sizes begin at layer 28 and are 4,096 wide", () => {
  for (const family of ["qwen2", "qwen3"]) {
    const { slidingWindows } = readGood({ ...SIZES, model_type: family, use_sliding_window: true });
    assert.deepEqual(slidingWindows, [...new Array(28).fill(0), 4096, 4096], family);
  }
});
