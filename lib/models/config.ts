// SPDX-License-Identifier: Apache-2.0
/** What all families read from `config.json` in the same way. */
import {
  booleanField,
  choiceField,
  type ConfigFields,
  integerField,
  numberField,
  problem,
  rawField,
  tokenIdsField,
} from "./config_fields.ts";
import type { ModelConfig } from "./model.ts";
import { readRope } from "./rope_config.ts";

/** A model family: everything that is its own. */
export interface Family {
  /** `model_type` of its configurations. */
  readonly modelType: string;
  /** Class of its causal language model, as in `architectures`. */
  readonly architecture: string;
  /** @mutates fields: what was read, and problems. The result counts only when there are none */
  readConfig(fields: ConfigFields): ModelConfig;
}

/** What of a configuration is alike in all families. */
export type SharedConfig = Omit<ModelConfig, "slidingWindows" | "attentionBias" | "mlpBias" | "headNorms">;

/** What stands for missing fields, where families differ: transformers' own defaults. */
export interface SharedDefaults {
  /** Null: as many as there are heads. */
  readonly numKeyValueHeads: number | null;
  /** Null: hidden size / heads. */
  readonly headDim: number | null;
}

/**
 * Fields that say nothing about the frozen forward pass: provenance, training (dropout is not applied), generation (read
 * from `generation_config.json`), and heads for other tasks. Everything else a family does not read is an error.
 */
export const IGNORABLE_FIELDS: ReadonlySet<string> = new Set([
  ...[
    "_name_or_path",
    "name_or_path",
    "_commit_hash",
    "transformers_version",
    "unsloth_version",
    "unsloth_fixed",
  ],
  ...[
    "transformers.js_config",
    "is_llama_config",
    "auto_map",
    "_attn_implementation",
    "_attn_implementation_autoset",
  ],
  ...["attn_implementation", "torch_dtype", "dtype", "torchscript", "use_bfloat16", "tf_legacy_loss"],
  ...["tokenizer_class", "model_max_length", "tokenizer_model_max_length", "max_sequence_length"],
  ...["attention_dropout", "hidden_dropout", "dropout", "use_cache", "pretraining_tp", "return_dict"],
  ...[
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "return_dict_in_generate",
    "pruned_heads",
  ],
  ...["chunk_size_feed_forward", "finetuning_task", "id2label", "label2id", "num_labels", "problem_type"],
  ...["task_specific_params", "prefix", "pad_token_id", "sep_token_id", "decoder_start_token_id"],
  ...[
    "max_length",
    "max_new_tokens",
    "min_length",
    "do_sample",
    "early_stopping",
    "num_beams",
    "temperature",
  ],
  ...[
    "num_beam_groups",
    "diversity_penalty",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
  ],
  ...["no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences"],
  ...[
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
  ],
  ...["suppress_tokens", "begin_suppress_tokens"],
]);

/** Fields that switch on another kind of model, and their only supported value beside null. */
const MUST_BE_OFF: Readonly<Record<string, boolean>> = {
  is_encoder_decoder: false,
  is_decoder: false,
  add_cross_attention: false,
  tie_encoder_decoder: false,
  use_mrope: false,
  rope_interleaved: false,
};

/** @mutates fields */
export function readSharedConfig(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "architecture">,
  defaults: SharedDefaults,
): SharedConfig {
  checkKind(fields, family);
  const count = (name: string) => integerField(fields, name, { min: 1 });
  const hiddenSize = count("hidden_size");
  const heads = count("num_attention_heads");
  const kvHeads = integerField(fields, "num_key_value_heads", {
    min: 1,
    missing: defaults.numKeyValueHeads ?? heads,
  });
  if (heads % kvHeads !== 0) {
    problem(fields, "num_key_value_heads", `a divisor of the ${heads} of num_attention_heads`, 1);
  }
  const maxPositionEmbeddings = count("max_position_embeddings");
  return {
    modelType: family.modelType,
    hiddenSize,
    intermediateSize: count("intermediate_size"),
    numHiddenLayers: count("num_hidden_layers"),
    numAttentionHeads: heads,
    numKeyValueHeads: kvHeads,
    headDim: readHeadDim(fields, hiddenSize, heads, defaults.headDim),
    vocabSize: count("vocab_size"),
    maxPositionEmbeddings,
    rmsNormEps: numberField(fields, "rms_norm_eps", { above: 0 }),
    ...readRope(fields, maxPositionEmbeddings),
    tieWordEmbeddings: booleanField(fields, "tie_word_embeddings", false),
    initializerRange: numberField(fields, "initializer_range", { min: 0, missing: 0.02 }),
    bosTokenId: tokenIdsField(fields, "bos_token_id")[0] ?? null,
    eosTokenIds: tokenIdsField(fields, "eos_token_id"),
  };
}

/** Windows of a family whose layers all see everything; `layer_types`, when given, must say so. @mutates fields */
export function noWindows(fields: ConfigFields, layers: number): number[] {
  const types = readLayerTypes(fields, layers);
  if (types?.includes("sliding_attention")) {
    problem(fields, "layer_types", `"full_attention" throughout`, null);
  }
  return new Array<number>(layers).fill(0);
}

/**
 * Windows of the qwen families: `layer_types` when given, else sliding from layer `max_window_layers` on; none at all
 * unless `use_sliding_window`. @mutates fields
 */
export function optionalWindows(fields: ConfigFields, layers: number): number[] {
  const enabled = booleanField(fields, "use_sliding_window", false);
  const size = integerField(fields, "sliding_window", { min: 1, missing: null });
  // 4096 and 28 are what transformers takes for fields that are absent; a null window means none.
  const window = enabled ? ("sliding_window" in fields.values ? size : 4096) : null;
  const firstSliding = integerField(fields, "max_window_layers", { min: 0, missing: 28 });
  const types = readLayerTypes(fields, layers);
  if (types !== null && window === null && types.includes("sliding_attention")) {
    problem(
      fields,
      "layer_types",
      `no "sliding_attention" while use_sliding_window is off or sliding_window null`,
      null,
    );
  }
  return Array.from({ length: layers }, (_, layer) => {
    const sliding = types === null ? layer >= firstSliding : types[layer] === "sliding_attention";
    return sliding ? window ?? 0 : 0;
  });
}

/** `layer_types`, or null when absent. @mutates fields */
export function readLayerTypes(fields: ConfigFields, layers: number): readonly string[] | null {
  const value = rawField(fields, "layer_types") ?? null;
  if (value === null) return null;
  const known = ["full_attention", "sliding_attention"];
  if (Array.isArray(value) && value.length === layers && value.every((type) => known.includes(type))) {
    return value;
  }
  return problem(fields, "layer_types", `${layers} times "full_attention" or "sliding_attention"`, null);
}

function checkKind(fields: ConfigFields, family: Pick<Family, "architecture">): void {
  rawField(fields, "model_type");
  const architectures = rawField(fields, "architectures") ?? [family.architecture];
  if (!Array.isArray(architectures) || !architectures.includes(family.architecture)) {
    problem(fields, "architectures", `["${family.architecture}"], nothing else is supported`, null);
  }
  choiceField(fields, "hidden_act", ["silu", "swish"]);
  const quantization = rawField(fields, "quantization_config") ?? null;
  if (quantization !== null) {
    fields.problems.push(
      `Field "quantization_config" is ${
        JSON.stringify(quantization)
      }: quantized checkpoints are not supported, ` +
        "use the f32, bf16 or f16 checkpoint that it was made from",
    );
  }
  for (const [name, off] of Object.entries(MUST_BE_OFF)) {
    if (booleanField(fields, name, off) !== off) problem(fields, name, String(off), null);
  }
}

function readHeadDim(
  fields: ConfigFields,
  hiddenSize: number,
  heads: number,
  missing: number | null,
): number {
  const given = integerField(fields, "head_dim", { min: 1, missing });
  if (given === null && hiddenSize % heads !== 0) {
    const wanted = `a value, because ${heads} heads do not divide the hidden size ${hiddenSize}`;
    return problem(fields, "head_dim", wanted, 2);
  }
  const headDim = given ?? hiddenSize / heads;
  return headDim % 2 === 0 ? headDim : problem(fields, "head_dim", `an even number, not ${headDim}`, 2);
}
