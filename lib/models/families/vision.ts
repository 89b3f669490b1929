// SPDX-License-Identifier: Apache-2.0
/** The vision transformer that ViT and DeiT are: patches, learned positions, layers with norms before what they compute. */
import { patchNumbers } from "../../data/images/patches.ts";
import type { ModelConfig } from "../model.ts";
import type { Attention, Ffn, Linear, PatchInput, Stack, SublayerNorms, TakeTensor } from "../parts.ts";
import type { Family } from "./family.ts";
import { takeLinear, takeNorm } from "./take.ts";
import type { VisionConfig } from "./vision_config.ts";

/** What checkpoints call otherwise than transformers' modules; see `Family.storedNames`. */
export const VISION_STORED_NAMES: NonNullable<Family["storedNames"]> = [
  ["encoder.layer.", "layers."],
  ["attention.attention.query.", "attention.q_proj."],
  ["attention.attention.key.", "attention.k_proj."],
  ["attention.attention.value.", "attention.v_proj."],
  ["attention.output.dense.", "attention.o_proj."],
  ["intermediate.dense.", "mlp.fc1."],
  [".output.dense.", ".mlp.fc2."],
];

/** What base models have for other tasks than classification. */
export const VISION_UNREAD = /^(pooler|decoder)\.|^embeddings\.mask_token$/;

/**
 * Takes everything below the classifier.
 *
 * @param root Of all its names     @param tokens Names of the learned tokens before the patches
 */
export function takeVision<W>(
  config: VisionConfig,
  take: TakeTensor<W>,
  root: string,
  tokens: readonly string[],
): Stack<W> {
  const { hiddenSize, numHiddenLayers, layerNormEps: eps } = config;
  const input = takeInput(config, take, `${root}.embeddings`, tokens);
  const layers = Array.from({ length: numHiddenLayers }, (_, layer) => {
    const path = `${root}.layers.${layer}`;
    return [takeAttention(config, take, path), takeFfn(config, take, path)];
  });
  const finalNorm = takeNorm(take, `${root}.layernorm`, hiddenSize, { kind: "layer", eps });
  return { input, layers, finalNorm, projection: null };
}

/** A classifier of its hidden states. */
export function takeClassifier<W>(
  { head, hiddenSize }: ModelConfig,
  take: TakeTensor<W>,
  module: string,
): Linear<W> {
  const outputs = head.kind === "classification" ? head.labels.length : 1;
  return takeLinear(take, module, module, { outputs, inputs: hiddenSize, bias: true });
}

/** What such models have beside their tensors' modules; see `Family.bareModules`. */
export function bareVisionModules({ numHiddenLayers }: ModelConfig, root: string): string[] {
  const layers = Array.from({ length: numHiddenLayers }, (_, layer) => `${root}.layers.${layer}`);
  return [
    `${root}.embeddings.dropout`,
    ...layers.flatMap((layer) => [`${layer}.mlp.activation_fn`, `${layer}.dropout`]),
  ];
}

function takeInput<W>(
  { hiddenSize, patches, maxPositionEmbeddings }: VisionConfig,
  take: TakeTensor<W>,
  module: string,
  tokens: readonly string[],
): PatchInput<W> {
  const { channels, patch } = patches;
  const projection = `${module}.patch_embeddings.projection`;
  const kernel = [hiddenSize, channels, patch.height, patch.width];
  const positions = [maxPositionEmbeddings, hiddenSize] as const;
  return {
    kind: "patches",
    shape: patches,
    tokens: tokens.map((name) => take(`${module}.${name}`, 1, hiddenSize, [1, 1, hiddenSize])),
    projection: {
      site: "projection",
      weight: take(`${projection}.weight`, hiddenSize, patchNumbers(patches), kernel),
      bias: take(`${projection}.bias`, null, hiddenSize),
    },
    positions: take(`${module}.position_embeddings`, ...positions, [1, ...positions]),
  };
}

function takeAttention<W>(config: VisionConfig, take: TakeTensor<W>, path: string): Attention<W> {
  const { hiddenSize, headDim, numAttentionHeads: heads, qkvBias } = config;
  const module = `${path}.attention`;
  const linear = (site: string, bias: boolean) =>
    takeLinear(take, site, `${module}.${site}_proj`, { outputs: hiddenSize, inputs: hiddenSize, bias });
  return {
    kind: "attention",
    module,
    norms: takeNorms(config, take, `${path}.layernorm_before`),
    inputs: [linear("q", qkvBias), linear("k", qkvBias), linear("v", qkvBias)],
    o: linear("o", true),
    ...{ qkNorms: null, rotary: null, heads, kvHeads: heads, headDim },
    ...{ sees: "all", window: 0, scale: 1 / Math.sqrt(headDim), softcap: 0 },
  };
}

function takeFfn<W>(config: VisionConfig, take: TakeTensor<W>, path: string): Ffn<W> {
  const { hiddenSize, intermediateSize, hiddenAct } = config;
  const module = `${path}.mlp`;
  const linear = (site: string, name: string, outputs: number, inputs: number) =>
    takeLinear(take, site, `${module}.${name}`, { outputs, inputs, bias: true });
  return {
    kind: "ffn",
    module,
    norms: takeNorms(config, take, `${path}.layernorm_after`),
    gated: false,
    inputs: [linear("up", "fc1", intermediateSize, hiddenSize)],
    down: linear("down", "fc2", hiddenSize, intermediateSize),
    activation: hiddenAct,
  };
}

function takeNorms<W>(
  { hiddenSize, layerNormEps: eps }: VisionConfig,
  take: TakeTensor<W>,
  module: string,
): SublayerNorms<W> {
  return { input: takeNorm(take, module, hiddenSize, { kind: "layer", eps }), output: null, sum: null };
}
