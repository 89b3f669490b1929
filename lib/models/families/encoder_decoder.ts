// SPDX-License-Identifier: Apache-2.0
/**
 * The encoder-decoder that BART is (Lewis et al., 2019), and mBART with norms elsewhere: two stacks of attention and a feed-forward
 * over one embedding, the decoder's layers with attention to what the encoder gave between the two.
 */
import type { HeadKind } from "../heads/head_config.ts";
import type {
  CrossAttention,
  Ffn,
  Head,
  Layer,
  Linear,
  ModelParts,
  Norm,
  Stack,
  SublayerNorms,
  TakeTensor,
} from "../parts.ts";
import {
  BART_FIELDS,
  type EncoderDecoderConfig,
  type EncoderDecoderDefaults,
  readEncoderDecoderConfig,
} from "./encoder_decoder_config.ts";
import type { Family } from "./family.ts";
import { normAt, plainAttention, plainInput, takeLinear, takeNorm } from "./take.ts";

type Side = "encoder" | "decoder";

/** Rows of the table of positions before the first. */
const OFFSET = 2;
const NORM = { kind: "layer", eps: 1e-5 } as const;
const SHARED = "model.shared.weight";
const LOGITS_BIAS = "final_logits_bias";
const CLASSIFIER = "classification_head";

/** A family that computes what BART does, with its names for tensors. */
export function encoderDecoderFamily(
  modelType: string,
  heads: Readonly<Record<string, HeadKind>>,
  defaults: EncoderDecoderDefaults,
): Family<EncoderDecoderConfig> {
  return {
    modelType,
    heads,
    fieldNames: BART_FIELDS,
    sharedTensors: [{
      own: SHARED,
      names: [SHARED, "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"],
      differing: "refused",
    }],
    // Left by the tools that made the first checkpoints, and an embedding that neither stack shares.
    unread: /^(encoder|decoder)\.version$|^shared\.weight$/,
    readConfig: (fields) => readEncoderDecoderConfig(fields, { modelType, heads }, defaults),
    stored: (config, has) => ({ ...config, hasLogitsBias: has(LOGITS_BIAS) }),
    build: (config, take) => buildEncoderDecoder(config, take, defaults.normsBefore),
    bareModules,
  };
}

function buildEncoderDecoder<W>(
  config: EncoderDecoderConfig,
  take: TakeTensor<W>,
  normsBefore: boolean,
): ModelParts<W> {
  const { vocabSize, hiddenSize } = config;
  const shared = config.sharesEmbedding ? take(SHARED, vocabSize, hiddenSize) : null;
  const takes: Takes<W> = {
    take,
    norm: (module) => takeNorm(take, module, hiddenSize, NORM),
    norms: (module) => normAt(takeNorm(take, module, hiddenSize, NORM), normsBefore),
  };
  const stack = (side: Side): Stack<W> => takeStack(config, takes, side, { shared, normsBefore });
  const stacks = [stack("encoder"), stack("decoder")] as const;
  return { stacks, rotary: {}, head: takeHead(config, takes, shared) };
}

function bareModules(config: EncoderDecoderConfig): string[] {
  const stacks = (["encoder", "decoder"] as const).flatMap((side) => [
    `model.${side}.embed_tokens`,
    ...Array.from({ length: config[side].layers }, (_, i) => `model.${side}.layers.${i}.activation_fn`),
  ]);
  return config.head.kind === "classification" ? [...stacks, `${CLASSIFIER}.dropout`] : stacks;
}

interface Takes<W> {
  readonly take: TakeTensor<W>;
  norm(module: string): Norm<W>;
  norms(module: string): SublayerNorms<W>;
}

function takeStack<W>(
  config: EncoderDecoderConfig,
  { take, ...takes }: Takes<W>,
  side: Side,
  { shared, normsBefore }: { readonly shared: W | null; readonly normsBefore: boolean },
): Stack<W> {
  const { hiddenSize, vocabSize, maxPositionEmbeddings, scalesEmbedding } = config;
  const root = `model.${side}`;
  const embedding = shared ?? take(`${root}.embed_tokens.weight`, vocabSize, hiddenSize);
  const table = take(`${root}.embed_positions.weight`, maxPositionEmbeddings + OFFSET, hiddenSize);
  const layers = Array.from(
    { length: config[side].layers },
    (_, layer) => takeLayer(config, { take, ...takes }, side, `${root}.layers.${layer}`),
  );
  return {
    input: {
      ...plainInput(embedding),
      scale: scalesEmbedding ? Math.sqrt(hiddenSize) : 1,
      positions: { weight: table, offset: OFFSET },
      norm: takes.norm(`${root}.layernorm_embedding`),
    },
    layers,
    finalNorm: normsBefore ? takes.norm(`${root}.layer_norm`) : null,
    projection: null,
  };
}

function takeLayer<W>(config: EncoderDecoderConfig, takes: Takes<W>, side: Side, path: string): Layer<W> {
  const { hiddenSize: width, activation } = config;
  const { heads, headDim, ffnDim } = config[side];
  const linear = (site: string, module: string, outputs = width, inputs = width): Linear<W> =>
    takeLinear(takes.take, site, `${path}.${module}`, { outputs, inputs, bias: true });
  const products = (module: string, prefix = "") => ({
    inputs: [
      linear(`${prefix}q`, `${module}.q_proj`),
      linear(`${prefix}k`, `${module}.k_proj`),
      linear(`${prefix}v`, `${module}.v_proj`),
    ] as const,
    o: linear(`${prefix}o`, `${module}.out_proj`),
  });
  const attention = plainAttention({
    module: `${path}.self_attn`,
    norms: takes.norms(`${path}.self_attn_layer_norm`),
    ...products("self_attn"),
    ...{ heads, headDim, sees: side === "encoder" ? "all" : "past" },
  });
  const cross = (): CrossAttention<W> => ({
    kind: "cross-attention",
    module: `${path}.encoder_attn`,
    norms: takes.norms(`${path}.encoder_attn_layer_norm`),
    ...products("encoder_attn", "cross_"),
    ...{ heads, kvHeads: heads, headDim, scale: 1 / Math.sqrt(headDim) },
  });
  const ffn = (): Ffn<W> => ({
    kind: "ffn",
    module: path,
    norms: takes.norms(`${path}.final_layer_norm`),
    gated: false,
    inputs: [linear("up", "fc1", ffnDim)],
    down: linear("down", "fc2", width, ffnDim),
    activation,
  });
  return side === "encoder" ? [attention, ffn()] : [attention, cross(), ffn()];
}

function takeHead<W>(config: EncoderDecoderConfig, { take }: Takes<W>, shared: W | null): Head<W> {
  const { head, hiddenSize: inputs, vocabSize, tieWordEmbeddings, hasLogitsBias } = config;
  if (head.kind !== "classification") {
    return {
      kind: "lm",
      weight: (tieWordEmbeddings ? shared : null) ?? take("lm_head.weight", vocabSize, inputs),
      bias: null,
      ...(hasLogitsBias && { constantBias: take(LOGITS_BIAS, null, vocabSize, [1, vocabSize]) }),
      softcap: 0,
    };
  }
  const linear = (name: string, outputs: number): Linear<W> => {
    const module = `${CLASSIFIER}.${name}`;
    return takeLinear(take, module, module, { outputs, inputs, bias: true });
  };
  return {
    kind: "classification",
    // That of the text's end, which is the last that the decoder reads.
    pooling: { kind: "last", padId: null },
    layers: [{ linear: linear("dense", inputs), activation: "tanh", norm: null }],
    output: linear("out_proj", head.labels.length),
    gives: head.gives,
  };
}
