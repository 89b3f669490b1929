// SPDX-License-Identifier: Apache-2.0
/** The modernbert family (Warner et al., 2024): norms before sublayers, heads that turn, a window in two layers of three. */
import type { Attention, Ffn, HeadLayer, Norm, TakeTensor } from "../parts.ts";
import type { Family } from "./family.ts";
import { type ModernBertConfig, readModernBertConfig } from "./modernbert_config.ts";
import { normAt, plainAttention, plainInput, takeLinear, takeNorm } from "./take.ts";

/** `model_type` "modernbert". */
export const modernbert: Family<ModernBertConfig> = {
  modelType: "modernbert",
  heads: { ModernBertForMaskedLM: "masked-lm", ModernBertForSequenceClassification: "classification" },
  readConfig: (fields) => readModernBertConfig(fields, modernbert),
  build(config, take) {
    const { hiddenSize, vocabSize, numHiddenLayers, rotary } = config;
    const embedding = take("model.embeddings.tok_embeddings.weight", vocabSize, hiddenSize);
    const input = { ...plainInput(embedding), norm: norm(config, take, "model.embeddings.norm") };
    const layers = Array.from({ length: numHiddenLayers }, (_, layer) => {
      const path = `model.layers.${layer}`;
      return [takeAttention(config, take, path, layer), takeFfn(config, take, path)];
    });
    const finalNorm = norm(config, take, "model.final_norm");
    return {
      stacks: [{ input, layers, finalNorm, projection: null }],
      rotary,
      head: takeHead(config, take, embedding),
    };
  },
  bareModules({ numHiddenLayers }) {
    const layers = Array.from({ length: numHiddenLayers }, (_, layer) => `model.layers.${layer}`);
    return [
      "model.embeddings.drop",
      "model.rotary_emb",
      "head.act",
      "drop",
      "model.layers.0.attn_norm",
      ...layers.flatMap((path) => [`${path}.attn.out_drop`, `${path}.mlp.act`, `${path}.mlp.drop`]),
    ];
  },
};

type Take<W> = TakeTensor<W>;

function norm<W>(
  { hiddenSize, normEps: eps, bias }: ModernBertConfig,
  take: Take<W>,
  module: string,
): Norm<W> {
  return takeNorm(take, module, hiddenSize, { kind: "layer", eps, bias: bias.norm });
}

function takeAttention<W>(
  config: ModernBertConfig,
  take: Take<W>,
  path: string,
  layer: number,
): Attention<W> {
  const { hiddenSize: inputs, numAttentionHeads: heads, headDim, bias: { attention: bias } } = config;
  const module = `${path}.attn`;
  const window = config.windows[layer] as number;
  return {
    ...plainAttention({
      module,
      // The first reads normed embeddings.
      norms: layer === 0
        ? { input: null, output: null, sum: null }
        : normAt(norm(config, take, `${path}.attn_norm`), true),
      inputs: [takeLinear(take, "qkv", `${module}.Wqkv`, { outputs: 3 * inputs, inputs, bias })],
      o: takeLinear(take, "o", `${module}.Wo`, { outputs: inputs, inputs, bias }),
      heads,
      headDim,
      sees: "all",
    }),
    rotary: window === 0 ? "full" : "sliding",
    window,
  };
}

function takeFfn<W>(config: ModernBertConfig, take: Take<W>, path: string): Ffn<W> {
  const { hiddenSize, intermediateSize, hiddenAct: activation, bias: { ffn: bias } } = config;
  const module = `${path}.mlp`;
  const norms = normAt(norm(config, take, `${path}.mlp_norm`), true);
  const inner = { outputs: 2 * intermediateSize, inputs: hiddenSize, bias };
  const inputs = [takeLinear(take, "gate_up", `${module}.Wi`, inner)];
  const down = takeLinear(take, "down", `${module}.Wo`, {
    outputs: hiddenSize,
    inputs: intermediateSize,
    bias,
  });
  return { kind: "ffn", module, norms, gated: true, inputs, down, activation };
}

function takeHead<W>(config: ModernBertConfig, take: Take<W>, embedding: W) {
  const { head, hiddenSize: inputs, vocabSize, tieWordEmbeddings, bias } = config;
  const layer: HeadLayer<W> = {
    linear: takeLinear(take, "head.dense", "head.dense", { outputs: inputs, inputs, bias: bias.classifier }),
    activation: config.classifierAct,
    norm: norm(config, take, "head.norm"),
  };
  if (head.kind !== "classification") {
    return {
      kind: "masked-lm" as const,
      layer,
      weight: tieWordEmbeddings ? embedding : take("decoder.weight", vocabSize, inputs),
      bias: bias.decoder ? take("decoder.bias", null, vocabSize) : null,
    };
  }
  const shape = { outputs: head.labels.length, inputs, bias: true };
  const output = takeLinear(take, "classifier", "classifier", shape);
  const pooling = { kind: config.classifierPooling };
  return { kind: "classification" as const, pooling, layers: [layer], output, gives: head.gives };
}
