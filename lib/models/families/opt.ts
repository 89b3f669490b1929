// SPDX-License-Identifier: Apache-2.0
/** The opt family: learned positions from row 2 on; 350m norms sums, and has an embedding narrower than the stream. */
import type { ActivationKind } from "../../ops/kernels/model.ts";
import { booleanField, type ConfigFields, integerField } from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import type { Layer, Linear, ModelParts, TakeTensor } from "../parts.ts";
import { activationField, readCommonConfig, readHeads, sizeField } from "./common_config.ts";
import type { Family } from "./family.ts";
import {
  normAt,
  type NormShape,
  plainAttention,
  plainInput,
  takeHead,
  takeLinear,
  takeNorm,
} from "./take.ts";

interface OptConfig extends ModelConfig {
  readonly numAttentionHeads: number;
  readonly headDim: number;
  readonly ffnDim: number;
  readonly activation: ActivationKind;
  /** Of the embedding. */
  readonly wordEmbedProjDim: number;
  readonly doLayerNormBefore: boolean;
  readonly hasFinalNorm: boolean;
  readonly enableBias: boolean;
  readonly norm: NormShape;
}

/** Rows of the table of positions before the first. */
const OFFSET = 2;
const DECODER = "model.decoder";

/** `model_type` "opt". */
export const opt: Family<OptConfig> = {
  modelType: "opt",
  heads: { OPTForCausalLM: "lm", OPTForSequenceClassification: "classification" },
  fieldNames: { initializer_range: "init_std", intermediate_size: "ffn_dim" },
  readConfig(fields: ConfigFields): OptConfig {
    const defaults = { bosTokenId: 2, eosTokenId: 2, maxPositionEmbeddings: 2048 };
    const common = readCommonConfig(fields, opt, { ...defaults, tieWordEmbeddings: true });
    const doLayerNormBefore = booleanField(fields, "do_layer_norm_before", true);
    return {
      ...common,
      ...readHeads(fields, common.hiddenSize),
      ffnDim: sizeField(fields, "intermediate_size"),
      activation: activationField(fields, "activation_function", "relu"),
      wordEmbedProjDim: integerField(fields, "word_embed_proj_dim", { min: 1, missing: common.hiddenSize }),
      doLayerNormBefore,
      hasFinalNorm: !booleanField(fields, "_remove_final_layer_norm", false) && doLayerNormBefore,
      enableBias: booleanField(fields, "enable_bias", true),
      norm: { kind: "layer", eps: 1e-5, weight: booleanField(fields, "layer_norm_elementwise_affine", true) },
    };
  },
  build: buildOpt,
  bareModules: ({ numHiddenLayers }) =>
    Array.from({ length: numHiddenLayers }, (_, layer) => `${DECODER}.layers.${layer}.activation_fn`),
};

function buildOpt<W>(config: OptConfig, take: TakeTensor<W>): ModelParts<W> {
  const { hiddenSize: width, wordEmbedProjDim: narrow, vocabSize, numHiddenLayers: length } = config;
  const between = (name: string, outputs: number, inputs: number): Linear<W> | null =>
    narrow === width ? null : takeLinear(take, name, `${DECODER}.${name}`, { outputs, inputs, bias: false });
  const embedding = take(`${DECODER}.embed_tokens.weight`, vocabSize, narrow);
  const table = take(`${DECODER}.embed_positions.weight`, config.maxPositionEmbeddings + OFFSET, width);
  const positions = { weight: table, offset: OFFSET };
  const input = { ...plainInput(embedding), projection: between("project_in", width, narrow), positions };
  const layers = Array.from({ length }, (_, layer) => buildLayer(config, take, layer));
  const last = `${DECODER}.final_layer_norm`;
  const finalNorm = config.hasFinalNorm ? takeNorm(take, last, width, config.norm) : null;
  const projection = between("project_out", narrow, width);
  const head = takeHead(take, config, { head: "lm_head", classifier: "score" }, embedding, { width: narrow });
  return { stacks: [{ input, layers, finalNorm, projection }], rotary: {}, head };
}

function buildLayer<W>(config: OptConfig, take: TakeTensor<W>, layer: number): Layer<W> {
  const { hiddenSize: width, ffnDim, numAttentionHeads: heads, headDim, enableBias: bias } = config;
  const path = `${DECODER}.layers.${layer}`;
  const norms = (name: string) =>
    normAt(takeNorm(take, `${path}.${name}`, width, config.norm), config.doLayerNormBefore);
  const linear = (site: string, name: string, outputs = width, inputs = width) =>
    takeLinear(take, site, `${path}.${name}`, { outputs, inputs, bias });
  const attention = plainAttention({
    module: `${path}.self_attn`,
    norms: norms("self_attn_layer_norm"),
    inputs: ["q", "k", "v"].map((site) => linear(site, `self_attn.${site}_proj`)),
    o: linear("o", "self_attn.out_proj"),
    ...{ heads, headDim, sees: "past" },
  });
  return [attention, {
    ...{ kind: "ffn", module: path, gated: false },
    norms: norms("final_layer_norm"),
    inputs: [linear("up", "fc1", ffnDim)],
    down: linear("down", "fc2", width, ffnDim),
    activation: config.activation,
  }];
}
