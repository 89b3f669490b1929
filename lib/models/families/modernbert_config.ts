// SPDX-License-Identifier: Apache-2.0
/** What `config.json` of the modernbert family says. */
import type { ActivationKind } from "../../ops/kernels/model.ts";
import {
  booleanField,
  choiceField,
  type ConfigFields,
  integerField,
  numberField,
  rawField,
} from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import { readRope } from "../rope_config.ts";
import type { Rotary } from "../rotary.ts";
import { activationField, readCommonConfig, readHeads, sizeField } from "./common_config.ts";
import type { Family } from "./family.ts";
import { ropesByLayerType } from "./layer_ropes.ts";
import { layersThatSlide } from "./windows.ts";

/** See {@linkcode readModernBertConfig}. */
export interface ModernBertConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly numAttentionHeads: number;
  readonly headDim: number;
  readonly hiddenAct: ActivationKind;
  readonly normEps: number;
  readonly bias: Readonly<Record<"attention" | "ffn" | "norm" | "classifier" | "decoder", boolean>>;
  /** How far a token sees in both directions together, 0 for no limit; length numHiddenLayers. */
  readonly windows: readonly number[];
  /** Of layers without a window, and with one. */
  readonly rotary: Readonly<Record<"full" | "sliding", Rotary>>;
  readonly classifierPooling: "first" | "mean";
  readonly classifierAct: ActivationKind;
}

/** Of training and implementations; and of BERT, which its configurations say too and nobody reads. */
const PASSED_OVER = [
  ...["initializer_cutoff_factor", "sparse_prediction", "sparse_pred_ignore_index", "repad_logits_with_grad"],
  ...["deterministic_flash_attn", "reference_compile", "layer_norm_eps", "position_embedding_type"],
];

const THETA = { full: 160000, sliding: 10000 };

/** @mutates fields */
export function readModernBertConfig(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "heads">,
): ModernBertConfig {
  const ropes = ropesByLayerType(fields);
  const common = readCommonConfig(ropes.full, family, {
    maxPositionEmbeddings: 8192,
    bosTokenId: 50281,
    eosTokenId: 50282,
    tieWordEmbeddings: true,
  });
  const heads = readHeads(fields, common.hiddenSize);
  const { maxPositionEmbeddings, numHiddenLayers } = common;
  const sizes = { maxPositionEmbeddings, headDim: heads.headDim };
  const theta = (name: string, missing: number) => numberField(fields, name, { above: 0, missing });
  const rope = (own: ConfigFields, ropeTheta: number) => ({
    ...readRope(own, { ...sizes, ropeTheta }),
    maxPositionEmbeddings,
  });
  PASSED_OVER.forEach((name) => rawField(fields, name));
  const period = integerField(fields, "global_attn_every_n_layers", { min: 1, missing: 3 });
  const window = integerField(fields, "local_attention", { min: 2, missing: 128 });
  const slides = layersThatSlide(fields, numHiddenLayers, (layer) => layer % period !== 0);
  return {
    ...common,
    ...heads,
    intermediateSize: sizeField(fields, "intermediate_size"),
    hiddenAct: activationField(fields, "hidden_activation", "gelu"),
    normEps: numberField(fields, "norm_eps", { above: 0, missing: 1e-5 }),
    bias: {
      attention: booleanField(fields, "attention_bias", false),
      ffn: booleanField(fields, "mlp_bias", false),
      norm: booleanField(fields, "norm_bias", false),
      classifier: booleanField(fields, "classifier_bias", false),
      decoder: booleanField(fields, "decoder_bias", true),
    },
    windows: slides.map((sliding) => sliding ? window : 0),
    rotary: {
      full: rope(ropes.full, theta("global_rope_theta", THETA.full)),
      sliding: rope(ropes.sliding, theta("local_rope_theta", THETA.sliding)),
    },
    classifierPooling: choiceField(fields, "classifier_pooling", ["cls", "mean"]) === "mean"
      ? "mean"
      : "first",
    classifierAct: activationField(fields, "classifier_activation", "gelu"),
  };
}
