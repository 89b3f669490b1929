// SPDX-License-Identifier: Apache-2.0
/** The DistilBERT family (Sanh et al., 2019): BERT without kinds of tokens, with names of its own. */
import { type ConfigFields, rawField } from "../config_fields.ts";
import { bareEncoderModules, buildEncoder, type EncoderNames } from "./encoder.ts";
import { type EncoderConfig, readEncoderConfig } from "./encoder_config.ts";
import type { Family } from "./family.ts";

const NAMES: EncoderNames = {
  embedding: "distilbert.embeddings.word_embeddings",
  positions: "distilbert.embeddings.position_embeddings",
  types: null,
  embeddingNorm: "distilbert.embeddings.LayerNorm",
  layers: "distilbert.transformer.layer",
  attention: "attention",
  q: "attention.q_lin",
  k: "attention.k_lin",
  v: "attention.v_lin",
  o: "attention.out_lin",
  attentionNorm: "sa_layer_norm",
  ffn: "ffn",
  up: "ffn.lin1",
  down: "ffn.lin2",
  ffnNorm: "output_layer_norm",
  maskedLm: {
    dense: "vocab_transform",
    norm: "vocab_layer_norm",
    decoder: "vocab_projector",
    bias: "vocab_projector.bias",
    activation: null,
  },
  classification: { dense: "pre_classifier", activation: "relu", output: "classifier" },
  bare: {
    whole: ["distilbert.embeddings.dropout", "dropout"],
    layer: ["attention.dropout", "ffn.dropout", "ffn.activation"],
  },
};

/** `model_type` "distilbert". */
export const distilbert: Family<EncoderConfig> = {
  modelType: "distilbert",
  heads: { DistilBertForMaskedLM: "masked-lm", DistilBertForSequenceClassification: "classification" },
  fieldNames: {
    hidden_size: "dim",
    intermediate_size: "hidden_dim",
    num_hidden_layers: "n_layers",
    num_attention_heads: "n_heads",
    hidden_act: "activation",
  },
  readConfig(fields: ConfigFields): EncoderConfig {
    // Positions by sines are stored like learned ones.
    rawField(fields, "sinusoidal_pos_embds");
    const ends = { bosTokenId: null, eosTokenId: null };
    return readEncoderConfig(fields, distilbert, { ...ends, positionOffset: 0, hasTypes: false });
  },
  build: (config, take) => buildEncoder(config, take, NAMES),
  bareModules: (config) => bareEncoderModules(config, NAMES),
};
