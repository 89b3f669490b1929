// SPDX-License-Identifier: Apache-2.0
/** What a model is, in facts that fields of a `config.json` may say too: such a field asks for nothing else. */
import type { ActivationKind } from "../ops/kernels/model.ts";
import type { ModelConfig } from "./model.ts";
import { linearSize, normsOf } from "./part_tensors.ts";
import {
  type Attention,
  type Ffn,
  lastStack,
  lowestOf,
  type ModelParts,
  type Norm,
  type TensorShape,
} from "./parts.ts";
import type { Rotary } from "./rotary.ts";

/** Whether a value is one that switches off. */
export function isOff(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length === 0;
  return !value;
}

/** What is so of a model, as far as fields may say it: of its lowest layer, where layers differ. */
export interface Facts extends ModelConfig {
  readonly attention: Attention<TensorShape> | null;
  readonly ffn: Ffn<TensorShape> | null;
  /** F; 0 where there is no feed-forward. */
  readonly feedForward: number;
  readonly norm: Norm<TensorShape> | undefined;
  readonly rotary: Rotary | undefined;
  /** What embeddings are multiplied by. */
  readonly scale: number;
  readonly learnsPositions: boolean;
}

export function factsOf(config: ModelConfig, parts: ModelParts<TensorShape>): Facts {
  const [attention, ffn] = [lowestOf(parts, "attention"), lowestOf(parts, "ffn")];
  const { input } = lastStack(parts);
  return {
    ...config,
    attention,
    ffn,
    feedForward: ffn === null ? 0 : linearSize(ffn.down as LinearOfSizes).inputs,
    norm: attention === null ? undefined : normsOf(attention)[0],
    rotary: attention?.rotary ? parts.rotary[attention.rotary] : undefined,
    scale: input.kind === "tokens" ? input.scale : 1,
    learnsPositions: input.positions !== null,
  };
}

/** Matrices have rows. */
type LinearOfSizes = Parameters<typeof linearSize>[0];

type Test = (value: unknown, facts: Facts) => boolean;
const is = (...values: readonly unknown[]): Test => (value) => values.includes(value);
const equals = (of: (facts: Facts) => unknown): Test => (value, facts) => value === of(facts);
/** As scales that are computed in different ways. */
const near = (of: (facts: Facts) => number): Test => (value, facts) =>
  typeof value === "number" && Math.abs(value - of(facts)) <= 1e-12 * Math.abs(value);
const lower = (...values: readonly string[]): Test => (value) =>
  values.includes(String(value).toLowerCase().replace(/[-_ ]/g, ""));

/** Fields beside the ones that are read, and the values with which they ask for nothing else. */
export const SAYS_SAME: readonly [names: readonly string[], test: Test][] = [
  [["is_causal", "causal"], is(true)],
  [["activation", "activation_function", "hidden_activation", "mlp_hidden_act", "act_fn"], isActivation],
  [["mlp_type", "ffn_type", "ffn_activation", "feed_forward_type"], isActivation],
  [["swiglu", "use_swiglu"], equals((f) => f.ffn?.gated === true && f.ffn.activation === "silu")],
  [["gated_mlp", "use_gated_mlp", "mlp_gated"], equals((f) => f.ffn?.gated === true)],
  [
    ["rotary_pct", "rotary_percentage", "rotary_percent", "rope_percentage", "rope_pct"],
    equals((f) => rotaryDim(f) / headDim(f)),
  ],
  [["rotary_dim", "rope_dim"], equals(rotaryDim)],
  [["kv_channels", "head_size", "attention_head_size"], equals(headDim)],
  [["v_head_dim", "qk_head_dim", "attention_head_dim"], equals(headDim)],
  [
    ["rotary_base", "rotary_emb_base", "rope_base", "rotary_embedding_base"],
    equals((f) => f.rotary?.ropeTheta),
  ],
  [[
    "use_rope",
    "use_rotary",
    "rotary",
    "use_rotary_embedding",
    "use_rotary_embeddings",
    "use_rotary_position_embeddings",
  ], equals((f) => f.rotary !== undefined)],
  [["position_embedding_type", "pos_emb", "position_encoding", "pe_type"], isPositionKind],
  [["learned_embeddings"], equals((f) => f.learnsPositions)],
  [["rope_traditional", "rope_neox_style"], (value) => value === false],
  [["use_rms_norm", "rms_norm", "use_rmsnorm", "rmsnorm"], equals((f) => f.norm?.kind === "rms")],
  [["pre_norm", "norm_first", "prenorm"], equals((f) => f.attention?.norms.input !== null)],
  [["norm_type", "normalization", "norm", "normalization_type", "norm_class"], isNormKind],
  [
    ["layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "norm_eps", "norm_epsilon", "rms_eps"],
    equals((f) => f.norm?.eps),
  ],
  [["embedding_multiplier", "scale_emb", "embedding_scale", "embed_scale"], near((f) => f.scale)],
  [["residual_multiplier", "logits_scaling", "logit_scale", "logits_scale", "output_logit_scale"], is(1)],
  [["lm_head_multiplier", "output_multiplier"], is(1)],
  [["query_pre_attn_scalar"], near((f) => (f.attention?.scale ?? 0) ** -2)],
  [["attention_multiplier", "attention_scale", "softmax_scale"], near((f) => f.attention?.scale ?? 0)],
  [["scale_attn_weights", "scale_attention"], is(true)],
  [
    ["use_qk_norm", "qk_norm", "qk_layernorm", "use_qk_layernorm"],
    equals((f) => f.attention?.qkNorms !== null),
  ],
  [
    ["attention_type", "attn_type", "self_attention_type"],
    lower("full", "fullattention", "causal", "gqa", "mha", "mqa", "selfattention", "sdpa"),
  ],
  [["qkv_bias", "use_qkv_bias", "add_qkv_bias"], equals((f) => f.attention?.inputs[0]?.bias !== null)],
  [
    ["attention_out_bias", "o_proj_bias", "attention_output_bias"],
    equals((f) => f.attention?.o.bias !== null),
  ],
  [["num_key_value_groups", "kv_groups"], equals((f) => heads(f) / (f.attention?.kvHeads ?? 1))],
  [["n_layer", "n_layers", "num_layers"], equals((f) => f.numHiddenLayers)],
  [["n_head", "n_heads", "num_heads"], equals(heads)],
  [["n_kv_heads", "num_kv_heads", "n_head_kv"], equals((f) => f.attention?.kvHeads)],
  [["multi_query_group_num"], equals((f) => f.attention?.kvHeads)],
  [["n_embd", "d_model", "n_embed", "embedding_size"], equals((f) => f.hiddenSize)],
  // Of the residual stream to some, of the feed-forward to others.
  [["hidden_dim"], (value, f) => value === f.hiddenSize || value === f.feedForward],
  [["n_inner", "d_ff", "ffn_dim", "ffn_hidden_size", "intermediate_dim"], equals((f) => f.feedForward)],
  [
    ["tie_embeddings", "tied_embeddings", "tie_embedding", "share_embeddings", "tie_lm_head"],
    equals((f) => f.tieWordEmbeddings),
  ],
  [["sparse_attention", "attention_window", "local_attention"], isOff],
  [["window_size", "attention_window_size", "local_window_size"], isNoWindow],
];

function heads({ attention }: Facts): number {
  return attention?.heads ?? 0;
}

function headDim({ attention }: Facts): number {
  return attention?.headDim ?? 0;
}

function rotaryDim({ rotary }: Facts): number {
  return rotary?.rotaryDim ?? 0;
}

/** What activations are called, alone and as gates. */
const ACTIVATION_NAMES: Partial<
  Record<ActivationKind, { alone: readonly string[]; gate: readonly string[] }>
> = {
  silu: { alone: ["silu", "swish"], gate: ["silu", "swish", "swiglu"] },
  gelu: { alone: ["gelu"], gate: ["gelu", "geglu"] },
  gelu_tanh: {
    alone: ["gelu_new", "gelu_pytorch_tanh", "gelu_tanh"],
    gate: ["gelu_pytorch_tanh", "gelu_tanh", "geglu"],
  },
  relu: { alone: ["relu"], gate: ["relu", "reglu"] },
};

function isActivation(value: unknown, { ffn }: Facts): boolean {
  const names = ffn && ACTIVATION_NAMES[ffn.activation]?.[ffn.gated ? "gate" : "alone"];
  return names?.includes(String(value).toLowerCase()) === true;
}

function isNormKind(value: unknown, { norm }: Facts): boolean {
  const names = norm?.kind === "layer" ? ["layer", "layernorm"] : ["rms", "rmsnorm"];
  return names.includes(String(value).toLowerCase().replace(/[-_ ]/g, ""));
}

function isPositionKind(value: unknown, { rotary, learnsPositions }: Facts): boolean {
  const names = rotary ? ["rope", "rotary"] : learnsPositions ? ["absolute", "learned"] : ["none"];
  return names.includes(String(value).toLowerCase().replace(/[-_ ]/g, ""));
}

function isNoWindow(value: unknown, { maxPositionEmbeddings }: Facts): boolean {
  return isOff(value) || value === -1 || typeof value === "number" && value >= maxPositionEmbeddings;
}
