// SPDX-License-Identifier: Apache-2.0
/**
 * The encoder that BERT is, and all that followed: layers of attention and a feed-forward that see the whole sequence, with a
 * norm behind each sum. A family says what its tensors are called.
 */
import type { ActivationKind } from "../../ops/kernels/model.ts";
import type {
  Attention,
  Ffn,
  Head,
  HeadLayer,
  ModelParts,
  Norm,
  SublayerNorms,
  TakeTensor,
  TokenInput,
} from "../parts.ts";
import type { EncoderConfig } from "./encoder_config.ts";
import { normAt, plainAttention, plainInput, takeLinear, takeNorm } from "./take.ts";

/** Names of modules: of the whole, then within a layer. */
export interface EncoderNames {
  readonly embedding: string;
  readonly positions: string;
  /** Null where tokens are of one kind. */
  readonly types: string | null;
  readonly embeddingNorm: string;
  /** Before the number of a layer. */
  readonly layers: string;
  readonly attention: string;
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly o: string;
  readonly attentionNorm: string;
  readonly ffn: string;
  readonly up: string;
  readonly down: string;
  readonly ffnNorm: string;
  readonly maskedLm: MaskedLmNames;
  readonly classification: ClassificationNames;
  /** Without tensors: of the whole, and within a layer. */
  readonly bare: { readonly whole: readonly string[]; readonly layer: readonly string[] };
}

/** The head that fills in tokens. */
export interface MaskedLmNames {
  readonly dense: string;
  readonly norm: string;
  /** Tied to the embedding. */
  readonly decoder: string;
  /** Name of a tensor, as it may be in no module of its own. */
  readonly bias: string;
  /** Null: as in the layers. */
  readonly activation: ActivationKind | null;
}

/** The head on whole sequences: a layer on the first token, then the classes. */
export interface ClassificationNames {
  readonly dense: string;
  readonly activation: ActivationKind;
  readonly output: string;
}

/** Builds an encoder; see `Family.build`. */
export function buildEncoder<W>(
  config: EncoderConfig,
  take: TakeTensor<W>,
  names: EncoderNames,
): ModelParts<W> {
  const { hiddenSize, vocabSize, positions, typeVocabSize } = config;
  const embedding = take(`${names.embedding}.weight`, vocabSize, hiddenSize);
  const input: TokenInput<W> = {
    ...plainInput(embedding),
    positions: {
      weight: take(`${names.positions}.weight`, positions.rows, hiddenSize),
      offset: positions.offset,
    },
    types: names.types === null ? null : take(`${names.types}.weight`, typeVocabSize, hiddenSize),
    norm: norm(config, take, names.embeddingNorm),
  };
  const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) => {
    const path = `${names.layers}.${layer}`;
    return [buildAttention(config, take, names, path), buildFfn(config, take, names, path)];
  });
  return {
    stacks: [{ input, layers, finalNorm: null, projection: null }],
    rotary: {},
    head: buildHead(config, take, names, embedding),
  };
}

/** Its modules without tensors; see `Family.bareModules`. */
export function bareEncoderModules({ numHiddenLayers }: EncoderConfig, names: EncoderNames): string[] {
  const layers = Array.from({ length: numHiddenLayers }, (_, layer) => `${names.layers}.${layer}`);
  return [
    ...names.bare.whole,
    ...layers.flatMap((path) => names.bare.layer.map((name) => `${path}.${name}`)),
  ];
}

function norm<W>(
  { hiddenSize, layerNormEps: eps }: EncoderConfig,
  take: TakeTensor<W>,
  module: string,
): Norm<W> {
  return takeNorm(take, module, hiddenSize, { kind: "layer", eps });
}

function sumNorm<W>(config: EncoderConfig, take: TakeTensor<W>, module: string): SublayerNorms<W> {
  return normAt(norm(config, take, module), false);
}

function buildAttention<W>(
  config: EncoderConfig,
  take: TakeTensor<W>,
  names: EncoderNames,
  path: string,
): Attention<W> {
  const { hiddenSize: outputs, headDim, numAttentionHeads: heads } = config;
  const linear = (site: "q" | "k" | "v" | "o") =>
    takeLinear(take, site, `${path}.${names[site]}`, { outputs, inputs: outputs, bias: true });
  return plainAttention({
    module: `${path}.${names.attention}`,
    inputs: [linear("q"), linear("k"), linear("v")],
    o: linear("o"),
    norms: sumNorm(config, take, `${path}.${names.attentionNorm}`),
    heads,
    headDim,
    sees: "all",
  });
}

function buildFfn<W>(config: EncoderConfig, take: TakeTensor<W>, names: EncoderNames, path: string): Ffn<W> {
  const { hiddenSize, intermediateSize } = config;
  const linear = (site: "up" | "down", outputs: number, inputs: number) =>
    takeLinear(take, site, `${path}.${names[site]}`, { outputs, inputs, bias: true });
  return {
    kind: "ffn",
    module: `${path}.${names.ffn}`,
    gated: false,
    inputs: [linear("up", intermediateSize, hiddenSize)],
    down: linear("down", hiddenSize, intermediateSize),
    norms: sumNorm(config, take, `${path}.${names.ffnNorm}`),
    activation: config.hiddenAct,
  };
}

function buildHead<W>(
  config: EncoderConfig,
  take: TakeTensor<W>,
  names: EncoderNames,
  embedding: W,
): Head<W> {
  const { head, hiddenSize, vocabSize, tieWordEmbeddings, hiddenAct } = config;
  const layer = (module: string, activation: ActivationKind, normModule: string | null): HeadLayer<W> => ({
    linear: takeLinear(take, module, module, { outputs: hiddenSize, inputs: hiddenSize, bias: true }),
    activation,
    norm: normModule === null ? null : norm(config, take, normModule),
  });
  if (head.kind !== "classification") {
    const { dense, norm: normModule, decoder, bias, activation } = names.maskedLm;
    return {
      kind: "masked-lm",
      layer: layer(dense, activation ?? hiddenAct, normModule),
      weight: tieWordEmbeddings ? embedding : take(`${decoder}.weight`, vocabSize, hiddenSize),
      bias: take(bias, null, vocabSize),
    };
  }
  const { dense, activation, output } = names.classification;
  return {
    kind: "classification",
    pooling: { kind: "first" },
    layers: [layer(dense, activation, null)],
    output: takeLinear(take, output, output, { outputs: head.labels.length, inputs: hiddenSize, bias: true }),
    gives: head.gives,
  };
}
