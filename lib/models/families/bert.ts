// SPDX-License-Identifier: Apache-2.0
/** The BERT family (Devlin et al., 2019). */
import { bareEncoderModules, buildEncoder, type EncoderNames } from "./encoder.ts";
import { type EncoderConfig, readEncoderConfig } from "./encoder_config.ts";
import type { Family } from "./family.ts";

/** As BERT's checkpoints have them below the name of the model. */
export function bertNames(
  model: string,
  heads: Pick<EncoderNames, "maskedLm" | "classification">,
): EncoderNames {
  return {
    embedding: `${model}.embeddings.word_embeddings`,
    positions: `${model}.embeddings.position_embeddings`,
    types: `${model}.embeddings.token_type_embeddings`,
    embeddingNorm: `${model}.embeddings.LayerNorm`,
    layers: `${model}.encoder.layer`,
    attention: "attention",
    q: "attention.self.query",
    k: "attention.self.key",
    v: "attention.self.value",
    o: "attention.output.dense",
    attentionNorm: "attention.output.LayerNorm",
    ffn: "output",
    up: "intermediate.dense",
    down: "output.dense",
    ffnNorm: "output.LayerNorm",
    ...heads,
    bare: {
      whole: [`${model}.embeddings.dropout`, "dropout"],
      layer: [
        "attention.self.dropout",
        "attention.output.dropout",
        "intermediate.intermediate_act_fn",
        "output.dropout",
      ],
    },
  };
}

const NAMES = bertNames("bert", {
  maskedLm: {
    dense: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    decoder: "cls.predictions.decoder",
    bias: "cls.predictions.bias",
    activation: null,
  },
  classification: { dense: "bert.pooler.dense", activation: "tanh", output: "classifier" },
});

/** `model_type` "bert". */
export const bert: Family<EncoderConfig> = {
  modelType: "bert",
  heads: {
    BertForMaskedLM: "masked-lm",
    BertForPreTraining: "masked-lm",
    BertForSequenceClassification: "classification",
  },
  sharedTensors: [{
    own: "cls.predictions.bias",
    names: ["cls.predictions.decoder.bias", "cls.predictions.bias"],
    differing: "passed over",
  }],
  unread: /^(pooler|cls\.seq_relationship)\./,
  readConfig: (fields) =>
    readEncoderConfig(fields, bert, { bosTokenId: null, eosTokenId: null, positionOffset: 0 }),
  build: (config, take) => buildEncoder(config, take, NAMES),
  bareModules: (config) => bareEncoderModules(config, NAMES),
};
