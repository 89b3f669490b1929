// SPDX-License-Identifier: Apache-2.0
/**
 * The decoder that most families are: layers of attention and a gated feed-forward, with the names that llama's checkpoints
 * have. A family that names its tensors otherwise says how.
 */
import type { ModelConfig } from "../model.ts";
import type { Attention, Ffn, Head, Linear, ModelParts, Norm, TakeTensor } from "../parts.ts";

/** Names of modules: of the whole, then within a layer, then within its sublayers. */
export interface DecoderNames {
  readonly embedding: string;
  /** Before the number of a layer. */
  readonly layers: string;
  readonly finalNorm: string;
  readonly head: string;
  /** The head on whole sequences. */
  readonly classifier: string;
  readonly inputNorm: string;
  readonly attention: string;
  readonly ffnNorm: string;
  readonly ffn: string;
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly o: string;
  readonly qNorm: string;
  readonly kNorm: string;
  readonly gate: string;
  readonly up: string;
  readonly down: string;
  /** Without tensors: of the whole, and within the feed-forward. */
  readonly rotary: string;
  readonly activation: string;
}

/** As llama's checkpoints have them, and all that followed. */
export const LLAMA_NAMES: DecoderNames = {
  embedding: "model.embed_tokens",
  layers: "model.layers",
  finalNorm: "model.norm",
  head: "lm_head",
  classifier: "score",
  inputNorm: "input_layernorm",
  attention: "self_attn",
  ffnNorm: "post_attention_layernorm",
  ffn: "mlp",
  q: "q_proj",
  k: "k_proj",
  v: "v_proj",
  o: "o_proj",
  qNorm: "q_norm",
  kNorm: "k_norm",
  gate: "gate_proj",
  up: "up_proj",
  down: "down_proj",
  rotary: "model.rotary_emb",
  activation: "act_fn",
};

/** Builds a decoder; see `Family.build`. */
export function buildDecoder<W>(
  config: ModelConfig,
  take: TakeTensor<W>,
  names: DecoderNames = LLAMA_NAMES,
): ModelParts<W> {
  const { hiddenSize, vocabSize } = config;
  const embedding = take(`${names.embedding}.weight`, vocabSize, hiddenSize);
  const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) => {
    const path = `${names.layers}.${layer}`;
    return [
      buildAttention(config, take, names, path, config.slidingWindows[layer] as number),
      buildFfn(config, take, names, path),
    ];
  });
  const finalNorm = norm(take, config, names.finalNorm, hiddenSize);
  return { embedding, stacks: [{ layers, finalNorm }], head: buildHead(config, take, names, embedding) };
}

function buildHead<W>(
  { head, hiddenSize, vocabSize, tieWordEmbeddings, padTokenId: padId }: ModelConfig,
  take: TakeTensor<W>,
  names: DecoderNames,
  embedding: W,
): Head<W> {
  if (head.kind === "lm") {
    const weight = tieWordEmbeddings ? embedding : take(`${names.head}.weight`, vocabSize, hiddenSize);
    return { kind: "lm", weight, bias: null };
  }
  const weight = take(`${names.classifier}.weight`, head.labels.length, hiddenSize);
  return {
    kind: "classification",
    pooling: { kind: "last", padId },
    output: { site: names.classifier, weight, bias: null },
    gives: head.gives,
  };
}

/** Its modules without tensors; see `Family.bareModules`. */
export function bareDecoderModules(config: ModelConfig, names: DecoderNames = LLAMA_NAMES): string[] {
  const activations = Array.from(
    { length: config.numHiddenLayers },
    (_, layer) => `${names.layers}.${layer}.${names.ffn}.${names.activation}`,
  );
  return [names.rotary, ...activations];
}

function buildAttention<W>(
  config: ModelConfig,
  take: TakeTensor<W>,
  names: DecoderNames,
  path: string,
  window: number,
): Attention<W> {
  const { hiddenSize, headDim, numAttentionHeads: heads, numKeyValueHeads: kvHeads, attentionBias } = config;
  const [queries, keys, module] = [heads * headDim, kvHeads * headDim, `${path}.${names.attention}`];
  const inputNorm = norm(take, config, `${path}.${names.inputNorm}`, hiddenSize);
  const linears = takeLinears(take, module, names, {
    q: { rows: queries, cols: hiddenSize, bias: attentionBias.qkv },
    k: { rows: keys, cols: hiddenSize, bias: attentionBias.qkv },
    v: { rows: keys, cols: hiddenSize, bias: attentionBias.qkv },
    o: { rows: hiddenSize, cols: queries, bias: attentionBias.o },
  });
  const headNorm = (name: string) =>
    config.headNorms ? norm(take, config, `${module}.${name}`, headDim) : null;
  const [qNorm, kNorm] = [headNorm(names.qNorm), headNorm(names.kNorm)];
  return {
    kind: "attention",
    module,
    norm: inputNorm,
    ...linears,
    qNorm,
    kNorm,
    heads,
    kvHeads,
    headDim,
    window,
  };
}

function buildFfn<W>(config: ModelConfig, take: TakeTensor<W>, names: DecoderNames, path: string): Ffn<W> {
  const { hiddenSize, intermediateSize, mlpBias: bias } = config;
  const module = `${path}.${names.ffn}`;
  const inputNorm = norm(take, config, `${path}.${names.ffnNorm}`, hiddenSize);
  const linears = takeLinears(take, module, names, {
    gate: { rows: intermediateSize, cols: hiddenSize, bias },
    up: { rows: intermediateSize, cols: hiddenSize, bias },
    down: { rows: hiddenSize, cols: intermediateSize, bias },
  });
  return { kind: "ffn", module, norm: inputNorm, ...linears };
}

function norm<W>(
  take: TakeTensor<W>,
  { rmsNormEps: eps }: ModelConfig,
  module: string,
  size: number,
): Norm<W> {
  return { kind: "rms", weight: take(`${module}.weight`, null, size), bias: null, eps, unitOffset: false };
}

/** Sizes of a product. */
interface LinearSize {
  readonly rows: number;
  readonly cols: number;
  readonly bias: boolean;
}

/** The products of a sublayer: all their matrices, then their biases. */
function takeLinears<W, Site extends keyof DecoderNames>(
  take: TakeTensor<W>,
  module: string,
  names: DecoderNames,
  sizes: Readonly<Record<Site, LinearSize>>,
): Record<Site, Linear<W>> {
  const sites = Object.entries<LinearSize>(sizes) as [Site, LinearSize][];
  const weights = sites.map(([site, { rows, cols }]) => take(`${module}.${names[site]}.weight`, rows, cols));
  const linears = sites.map(([site, { rows, bias }], i): [Site, Linear<W>] => [site, {
    site,
    weight: weights[i] as W,
    bias: bias ? take(`${module}.${names[site]}.bias`, null, rows) : null,
  }]);
  return Object.fromEntries(linears) as Record<Site, Linear<W>>;
}
