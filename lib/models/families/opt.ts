// SPDX-License-Identifier: Apache-2.0
/** The opt family: learned positions from row 2 on; 350m norms sums, and has an embedding narrower than the stream. */
import type { ActivationKind } from "../../ops/kernels/model.ts";
import { booleanField, type ConfigFields, integerField, problem } from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import type { Layer, Linear, ModelParts, TakeTensor } from "../parts.ts";
import { activationField, readCommonConfig, readHeads, sizeField } from "./common_config.ts";
import type { Family } from "./family.ts";
import { normAt, plainAttention, plainInput, takeHead, takeLinear, takeNorm } from "./take.ts";

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
}

/** Rows of the table of positions before the first. */
const OFFSET = 2;
const NORM = { kind: "layer", eps: 1e-5 } as const;
const DECODER = "model.decoder";

/** `model_type` "opt". */
export const opt: Family<OptConfig> = {
  modelType: "opt",
  heads: { OPTForCausalLM: "lm", OPTForSequenceClassification: "classification" },
  fieldNames: { initializer_range: "init_std" },
  readConfig(fields: ConfigFields): OptConfig {
    const defaults = { bosTokenId: 2, eosTokenId: 2, maxPositionEmbeddings: 2048 };
    const common = readCommonConfig(fields, opt, { ...defaults, tieWordEmbeddings: true });
    const { hiddenSize } = common;
    if (!booleanField(fields, "layer_norm_elementwise_affine", true)) {
      problem(fields, "layer_norm_elementwise_affine", "true: norms without weights are not supported", null);
    }
    const doLayerNormBefore = booleanField(fields, "do_layer_norm_before", true);
    const isRemoved = booleanField(fields, "_remove_final_layer_norm", false);
    return {
      ...common,
      ...readHeads(fields, hiddenSize),
      ffnDim: sizeField(fields, "ffn_dim"),
      activation: activationField(fields, "activation_function", "relu"),
      wordEmbedProjDim: integerField(fields, "word_embed_proj_dim", { min: 1, missing: hiddenSize }),
      doLayerNormBefore,
      hasFinalNorm: doLayerNormBefore && !isRemoved,
      enableBias: booleanField(fields, "enable_bias", true),
    };
  },
  build: buildOpt,
  bareModules: ({ numHiddenLayers }) =>
    Array.from({ length: numHiddenLayers }, (_, layer) => `${DECODER}.layers.${layer}.activation_fn`),
};

function buildOpt<W>(config: OptConfig, take: TakeTensor<W>): ModelParts<W> {
  const { hiddenSize: width, wordEmbedProjDim: narrow, vocabSize, maxPositionEmbeddings } = config;
  const between = (name: string, outputs: number, inputs: number): Linear<W> | null =>
    narrow === width ? null : takeLinear(take, name, `${DECODER}.${name}`, { outputs, inputs, bias: false });
  const embedding = take(`${DECODER}.embed_tokens.weight`, vocabSize, narrow);
  const table = take(`${DECODER}.embed_positions.weight`, maxPositionEmbeddings + OFFSET, width);
  const positions = { weight: table, offset: OFFSET };
  const input = { ...plainInput(embedding), projection: between("project_in", width, narrow), positions };
  const layers = Array.from(
    { length: config.numHiddenLayers },
    (_, layer) => buildLayer(config, take, layer),
  );
  const finalNorm = config.hasFinalNorm ? takeNorm(take, `${DECODER}.final_layer_norm`, width, NORM) : null;
  const projection = between("project_out", narrow, width);
  const head = takeHead(take, config, { head: "lm_head", classifier: "score" }, embedding, { width: narrow });
  return { stacks: [{ input, layers, finalNorm, projection }], rotary: {}, head };
}

function buildLayer<W>(config: OptConfig, take: TakeTensor<W>, layer: number): Layer<W> {
  const { hiddenSize: width, ffnDim, numAttentionHeads: heads, headDim, enableBias: bias } = config;
  const path = `${DECODER}.layers.${layer}`;
  const norms = (name: string) =>
    normAt(takeNorm(take, `${path}.${name}`, width, NORM), config.doLayerNormBefore);
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
    kind: "ffn",
    module: path,
    norms: norms("final_layer_norm"),
    gated: false,
    inputs: [linear("up", "fc1", ffnDim)],
    down: linear("down", "fc2", width, ffnDim),
    activation: config.activation,
  }];
}
