// SPDX-License-Identifier: Apache-2.0
/** The gpt2 family: learned positions, layer norms, products whose weights are kept the other way round. */
import { booleanField, type ConfigFields, integerField, numberField, rawField } from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import type { Layer, ModelParts, TakeTensor } from "../parts.ts";
import type { ActivationKind } from "../../ops/kernels/model.ts";
import { activationField, readCommonConfig, readHeads } from "./common_config.ts";
import type { Family } from "./family.ts";
import { normAt, plainAttention, plainInput, takeHead, takeLinear, takeNorm } from "./take.ts";

interface Gpt2Config extends ModelConfig {
  readonly numAttentionHeads: number;
  readonly headDim: number;
  readonly intermediateSize: number;
  readonly activation: ActivationKind;
  readonly layerNormEpsilon: number;
  /** Of q.k, by layer. */
  readonly scales: readonly number[];
}

/** `model_type` "gpt2". */
export const gpt2: Family<Gpt2Config> = {
  modelType: "gpt2",
  heads: { GPT2LMHeadModel: "lm", GPT2ForSequenceClassification: "classification" },
  fieldNames: {
    hidden_size: "n_embd",
    num_hidden_layers: "n_layer",
    num_attention_heads: "n_head",
    intermediate_size: "n_inner",
    max_position_embeddings: "n_positions",
  },
  readConfig(fields: ConfigFields): Gpt2Config {
    const defaults = { bosTokenId: 50256, eosTokenId: 50256, maxPositionEmbeddings: 1024 };
    const common = readCommonConfig(fields, gpt2, { ...defaults, tieWordEmbeddings: true });
    const heads = readHeads(fields, common.hiddenSize);
    SAYS_NOTHING.forEach((name) => rawField(fields, name));
    const scaled = booleanField(fields, "scale_attn_weights", true);
    const byLayer = booleanField(fields, "scale_attn_by_inverse_layer_idx", false);
    const scale = scaled ? 1 / Math.sqrt(heads.headDim) : 1;
    return {
      ...common,
      ...heads,
      intermediateSize: integerField(fields, "intermediate_size", { min: 1, missing: 4 * common.hiddenSize }),
      activation: activationField(fields, "activation_function", "gelu_new"),
      layerNormEpsilon: numberField(fields, "layer_norm_epsilon", { above: 0, missing: 1e-5 }),
      scales: Array.from({ length: common.numHiddenLayers }, (_, i) => byLayer ? scale / (i + 1) : scale),
    };
  },
  build: buildGpt2,
  bareModules: ({ scales }) => [
    "transformer.drop",
    ...scales.flatMap((_, layer) => BARE.map((name) => `transformer.h.${layer}.${name}`)),
  ],
};

const BARE = ["attn.attn_dropout", "attn.resid_dropout", "mlp.act", "mlp.dropout"];
/** Of heads for other tasks, and of an order of the same sums. */
const SAYS_NOTHING = [
  ...["summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"],
  ...["summary_first_dropout", "reorder_and_upcast_attn"],
];

function buildGpt2<W>(config: Gpt2Config, take: TakeTensor<W>): ModelParts<W> {
  const { hiddenSize: width, vocabSize, maxPositionEmbeddings } = config;
  const embedding = take("transformer.wte.weight", vocabSize, width);
  const positions = { weight: take("transformer.wpe.weight", maxPositionEmbeddings, width), offset: 0 };
  const input = { ...plainInput(embedding), positions };
  const layers = config.scales.map((scale, i) => buildLayer(config, take, `transformer.h.${i}`, scale));
  const finalNorm = takeNorm(take, "transformer.ln_f", width, {
    kind: "layer",
    eps: config.layerNormEpsilon,
  });
  const head = takeHead(take, config, { head: "lm_head", classifier: "score" }, embedding);
  return { stacks: [{ input, layers, finalNorm, projection: null }], rotary: {}, head };
}

function buildLayer<W>(config: Gpt2Config, take: TakeTensor<W>, path: string, scale: number): Layer<W> {
  const { hiddenSize: width, intermediateSize: inner, numAttentionHeads: heads, headDim } = config;
  const norms = (name: string) =>
    normAt(takeNorm(take, `${path}.${name}`, width, { kind: "layer", eps: config.layerNormEpsilon }), true);
  const linear = (site: string, name: string, outputs: number, inputs: number) =>
    takeLinear(take, site, `${path}.${name}`, { outputs, inputs, bias: true, transposed: true });
  const attention = plainAttention({
    module: `${path}.attn`,
    norms: norms("ln_1"),
    inputs: [linear("qkv", "attn.c_attn", 3 * width, width)],
    o: linear("o", "attn.c_proj", width, width),
    ...{ heads, headDim, sees: "past" },
  });
  return [{ ...attention, scale }, {
    kind: "ffn",
    module: `${path}.mlp`,
    norms: norms("ln_2"),
    gated: false,
    inputs: [linear("up", "mlp.c_fc", inner, width)],
    down: linear("down", "mlp.c_proj", width, inner),
    activation: config.activation,
  }];
}
