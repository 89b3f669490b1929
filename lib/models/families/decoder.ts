// SPDX-License-Identifier: Apache-2.0
/**
 * The decoder that most families are: layers of attention and a gated feed-forward, with the names that llama's checkpoints
 * have. A family that names its tensors otherwise, or computes otherwise, says how.
 */
import type { Attention, Linear, ModelParts, Norm, Sublayer, SublayerNorms, TakeTensor } from "../parts.ts";
import type { DecoderConfig } from "./decoder_config.ts";
import { type LinearShape, type NormShape, plainInput, takeHead, takeLinear, takeNorm } from "./take.ts";

/** Names of modules: of the whole, then within a layer, then within its sublayers. */
export interface DecoderNames {
  readonly embedding: string;
  /** Before the number of a layer. */
  readonly layers: string;
  readonly finalNorm: string;
  readonly head: string;
  /** The head on whole sequences. */
  readonly classifier: string;
  readonly attention: string;
  readonly ffn: string;
  /** Of the layer, before and behind what a sublayer computes; null where there is none. */
  readonly attentionNorms: NormNames;
  readonly ffnNorms: NormNames;
  /** Queries, keys and values as one product, and gate and up, where a family has them so. */
  readonly qkv?: string;
  readonly gateUp?: string;
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

/** Names of the norms of a sublayer. */
export interface NormNames {
  readonly input: string | null;
  readonly output: string | null;
}

/** As llama's checkpoints have them, and all that followed. */
export const LLAMA_NAMES: DecoderNames = {
  embedding: "model.embed_tokens",
  layers: "model.layers",
  finalNorm: "model.norm",
  head: "lm_head",
  classifier: "score",
  attention: "self_attn",
  ffn: "mlp",
  attentionNorms: { input: "input_layernorm", output: null },
  ffnNorms: { input: "post_attention_layernorm", output: null },
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

/** What a family computes otherwise than llama. */
export interface DecoderStyle<W = never> {
  readonly names?: DecoderNames;
  /** Of all norms; root mean squares when absent. */
  readonly norm?: Omit<NormShape, "eps">;
  /** What embeddings are multiplied by. */
  readonly embeddingScale?: number;
  /** Norms of queries and keys; none when absent. */
  readonly qkNorms?: "head" | "projection" | null;
  /** Of logits. */
  readonly logitSoftcap?: number;
  /** What is otherwise in the attention of a layer. */
  attention?(layer: number): Partial<Pick<Attention, "rotary" | "scale" | "softcap" | "sees">>;
  /** Of the configuration's rotary embedding; see there. */
  readonly renewsKeys?: boolean;
  /** What stands in the place of a layer's feed-forward; null for that itself. @param path Name of the layer */
  ffn?(layer: number, path: string, norms: SublayerNorms<W>): Sublayer<W> | null;
  /** Rotary embeddings beside the configuration's own, by name. */
  readonly rotary?: ModelParts["rotary"];
}

/** Name of the rotary embedding that the configuration gives. */
export const ROTARY = "rotary";

/** Builds a decoder; see `Family.build`. */
export function buildDecoder<W>(
  config: DecoderConfig,
  take: TakeTensor<W>,
  style: DecoderStyle<W> = {},
): ModelParts<W> {
  const { hiddenSize, vocabSize, rotaryDim, ropeTheta, ropeScaling, maxPositionEmbeddings } = config;
  const { names = LLAMA_NAMES } = style;
  const takes = decoderTakes(config, take, style);
  const embedding = take(`${names.embedding}.weight`, vocabSize, hiddenSize);
  const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) => {
    const path = `${names.layers}.${layer}`;
    return [
      buildAttention(config, takes, path, layer),
      buildFfn(config, takes, path, layer),
    ];
  });
  const finalNorm = takes.norm(names.finalNorm, hiddenSize);
  const { renewsKeys = false } = style;
  const rotary = { rotaryDim, ropeTheta, ropeScaling, maxPositionEmbeddings, renewsKeys };
  const input = { ...plainInput(embedding), scale: style.embeddingScale ?? 1 };
  return {
    stacks: [{ input, layers, finalNorm, projection: null }],
    rotary: { [ROTARY]: rotary, ...style.rotary },
    head: takeHead(take, config, names, embedding, { softcap: style.logitSoftcap ?? 0 }),
  };
}

/** Its modules without tensors; see `Family.bareModules`. */
export function bareDecoderModules(
  { numHiddenLayers }: DecoderConfig,
  names: DecoderNames = LLAMA_NAMES,
): string[] {
  const activations = Array.from(
    { length: numHiddenLayers },
    (_, layer) => `${names.layers}.${layer}.${names.ffn}.${names.activation}`,
  );
  return [names.rotary, ...activations];
}

/** How the parts of a decoder are taken. */
interface DecoderTakes<W> {
  readonly style: DecoderStyle<W>;
  readonly names: DecoderNames;
  norm(module: string, size: number): Norm<W>;
  norms(path: string, names: NormNames): SublayerNorms<W>;
  linear(site: string, module: string, shape: LinearShape): Linear<W>;
}

function decoderTakes<W>(
  config: DecoderConfig,
  take: TakeTensor<W>,
  style: DecoderStyle<W>,
): DecoderTakes<W> {
  const { names = LLAMA_NAMES, norm: shape = { kind: "rms" } } = style;
  const norm = (module: string, size: number) =>
    takeNorm(take, module, size, { ...shape, eps: config.rmsNormEps });
  const named = (path: string, name: string | null) =>
    name === null ? null : norm(`${path}.${name}`, config.hiddenSize);
  return {
    style,
    names,
    norm,
    norms: (path, { input, output }) => ({
      input: named(path, input),
      output: named(path, output),
      sum: null,
    }),
    linear: (site, module, shape) => takeLinear(take, site, module, shape),
  };
}

function buildAttention<W>(
  config: DecoderConfig,
  { style, names, norm, norms, linear }: DecoderTakes<W>,
  path: string,
  layer: number,
): Attention<W> {
  const { hiddenSize, headDim, numAttentionHeads: heads, numKeyValueHeads: kvHeads, attentionBias } = config;
  const [queries, keys, module] = [heads * headDim, kvHeads * headDim, `${path}.${names.attention}`];
  const input = (site: string, name: string, outputs: number) =>
    linear(site, `${module}.${name}`, { outputs, inputs: hiddenSize, bias: attentionBias.qkv });
  const over = style.qkNorms ?? null;
  const sizes = over === "head" ? [headDim, headDim] as const : [queries, keys] as const;
  return {
    kind: "attention",
    module,
    norms: norms(path, names.attentionNorms),
    inputs: names.qkv === undefined
      ? [input("q", names.q, queries), input("k", names.k, keys), input("v", names.v, keys)]
      : [input("qkv", names.qkv, queries + 2 * keys)],
    o: linear("o", `${module}.${names.o}`, { outputs: hiddenSize, inputs: queries, bias: attentionBias.o }),
    qkNorms: over && {
      q: norm(`${module}.${names.qNorm}`, sizes[0]),
      k: norm(`${module}.${names.kNorm}`, sizes[1]),
      over,
    },
    rotary: ROTARY,
    heads,
    kvHeads,
    headDim,
    sees: "past",
    window: config.slidingWindows[layer] as number,
    scale: 1 / Math.sqrt(headDim),
    softcap: 0,
    ...style.attention?.(layer),
  };
}

function buildFfn<W>(
  { hiddenSize, intermediateSize, mlpBias: bias, hiddenAct }: DecoderConfig,
  { style, names, norms: takeNorms, linear }: DecoderTakes<W>,
  path: string,
  layer: number,
): Sublayer<W> {
  const norms = takeNorms(path, names.ffnNorms);
  const own = style.ffn?.(layer, path, norms) ?? null;
  if (own !== null) return own;
  const module = `${path}.${names.ffn}`;
  const input = (site: string, name: string, outputs: number) =>
    linear(site, `${module}.${name}`, { outputs, inputs: hiddenSize, bias });
  return {
    kind: "ffn",
    module,
    norms,
    gated: true,
    inputs: names.gateUp === undefined
      ? [input("gate", names.gate, intermediateSize), input("up", names.up, intermediateSize)]
      : [input("gate_up", names.gateUp, 2 * intermediateSize)],
    down: linear("down", `${module}.${names.down}`, { outputs: hiddenSize, inputs: intermediateSize, bias }),
    activation: hiddenAct,
  };
}
