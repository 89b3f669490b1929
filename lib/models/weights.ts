// SPDX-License-Identifier: Apache-2.0
/** Names and shapes of a model's tensors in its checkpoint, in one place. */
import type { LayerWeights, ModelConfig } from "./model.ts";

/** Gives what stands for a tensor: (cols) when rows is null, else (rows, cols). */
export type TakeTensor<W> = (name: string, rows: number | null, cols: number) => W;

/** Tensors that may be there and say nothing: tables and masks that older checkpoints stored. */
export const IGNORABLE_TENSORS =
  /(^|\.)(rotary_emb\.(inv_freq|original_inv_freq|cos_cached|sin_cached)|masked_bias|position_ids)$/;

/** Name of the embedding's tensor. */
export const EMBEDDING_NAME = "model.embed_tokens.weight";

/** Name of the head's tensor; with tied embeddings a copy of the embedding may be stored under it. */
export const HEAD_NAME = "lm_head.weight";

/** Parts of larger models that were saved inside a language model. */
const OTHER_PARTS = /^model\.(mm_|vision|visual|image_|audio|video|speech|projector|connector|multi_modal)/;

/** Whether a tensor's name is one of the model's own, known or not: of its layers, its embedding, final norm or head. */
export function isOfModel(name: string): boolean {
  return /^(model|layers|embed_tokens|norm|lm_head)\./.test(name) && !OTHER_PARTS.test(name);
}

/** {@linkcode LayerWeights} with anything in the place of weights. */
export type LayerTree<W> = {
  readonly [K in keyof LayerWeights]: null extends LayerWeights[K] ? W | null : W;
};

/** `ModelWeights` with anything in the place of weights. */
export interface WeightTree<W> {
  readonly embedding: W;
  readonly layers: readonly LayerTree<W>[];
  readonly finalNorm: W;
  readonly head: W;
}

/** All weights of a configuration, made by `take`. A tied head is the embedding itself. */
export function buildWeights<W>(config: ModelConfig, take: TakeTensor<W>): WeightTree<W> {
  const { hiddenSize: hidden, vocabSize } = config;
  const embedding = take(EMBEDDING_NAME, vocabSize, hidden);
  const layers = Array.from({ length: config.numHiddenLayers }, (_, i) => buildLayer(config, i, take));
  const finalNorm = take("model.norm.weight", null, hidden);
  const head = config.tieWordEmbeddings ? embedding : take(HEAD_NAME, vocabSize, hidden);
  return { embedding, layers, finalNorm, head };
}

/** Elements of all weights, each once. */
export function countedElements(config: ModelConfig): number {
  let count = 0;
  buildWeights(config, (_name, rows, cols) => count += (rows ?? 1) * cols);
  return count;
}

function buildLayer<W>(config: ModelConfig, layer: number, take: TakeTensor<W>): LayerTree<W> {
  const { hiddenSize: hidden, intermediateSize: inner, headDim, attentionBias, mlpBias, headNorms } = config;
  const queries = config.numAttentionHeads * headDim;
  const keys = config.numKeyValueHeads * headDim;
  const matrix = (name: string, rows: number, cols: number) =>
    take(`model.layers.${layer}.${name}.weight`, rows, cols);
  const norm = (name: string, cols: number) => take(`model.layers.${layer}.${name}.weight`, null, cols);
  const bias = (present: boolean, name: string, cols: number) =>
    present ? take(`model.layers.${layer}.${name}.bias`, null, cols) : null;
  return {
    inputNorm: norm("input_layernorm", hidden),
    q: matrix("self_attn.q_proj", queries, hidden),
    k: matrix("self_attn.k_proj", keys, hidden),
    v: matrix("self_attn.v_proj", keys, hidden),
    o: matrix("self_attn.o_proj", hidden, queries),
    qBias: bias(attentionBias.qkv, "self_attn.q_proj", queries),
    kBias: bias(attentionBias.qkv, "self_attn.k_proj", keys),
    vBias: bias(attentionBias.qkv, "self_attn.v_proj", keys),
    oBias: bias(attentionBias.o, "self_attn.o_proj", hidden),
    qNorm: headNorms ? norm("self_attn.q_norm", headDim) : null,
    kNorm: headNorms ? norm("self_attn.k_norm", headDim) : null,
    postAttentionNorm: norm("post_attention_layernorm", hidden),
    gate: matrix("mlp.gate_proj", inner, hidden),
    up: matrix("mlp.up_proj", inner, hidden),
    down: matrix("mlp.down_proj", hidden, inner),
    gateBias: bias(mlpBias, "mlp.gate_proj", inner),
    upBias: bias(mlpBias, "mlp.up_proj", inner),
    downBias: bias(mlpBias, "mlp.down_proj", hidden),
  };
}
