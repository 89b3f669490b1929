// SPDX-License-Identifier: Apache-2.0
/** The RoBERTa family (Liu et al., 2019): BERT with positions that begin behind that of padding, and heads of its own. */
import { bertNames } from "./bert.ts";
import { bareEncoderModules, buildEncoder } from "./encoder.ts";
import { type EncoderConfig, readEncoderConfig } from "./encoder_config.ts";
import type { HeadKind } from "../heads/head_config.ts";
import type { Family } from "./family.ts";

const NAMES = bertNames("roberta", {
  maskedLm: {
    dense: "lm_head.dense",
    norm: "lm_head.layer_norm",
    decoder: "lm_head.decoder",
    bias: "lm_head.bias",
    activation: "gelu",
  },
  classification: { dense: "classifier.dense", activation: "tanh", output: "classifier.out_proj" },
});

/** What transformers takes for a missing `pad_token_id`. */
const PAD = 1;

/** A family that computes what RoBERTa does, with its names for tensors. */
export function robertaFamily(
  modelType: string,
  heads: Readonly<Record<string, HeadKind>>,
): Family<EncoderConfig> {
  return {
    modelType,
    heads,
    sharedTensors: [{
      own: "lm_head.bias",
      names: ["lm_head.decoder.bias", "lm_head.bias"],
      differing: "passed over",
    }],
    unread: /^pooler\./,
    readConfig(fields) {
      const pad = fields.values["pad_token_id"];
      const positionOffset = 1 + (Number.isSafeInteger(pad) && (pad as number) >= 0 ? pad as number : PAD);
      return readEncoderConfig(fields, { modelType, heads }, {
        bosTokenId: 0,
        eosTokenId: 2,
        positionOffset,
      });
    },
    build: (config, take) => buildEncoder(config, take, NAMES),
    bareModules: (config) => bareEncoderModules(config, NAMES),
  };
}

/** `model_type` "roberta". */
export const roberta: Family<EncoderConfig> = robertaFamily("roberta", {
  RobertaForMaskedLM: "masked-lm",
  RobertaForSequenceClassification: "classification",
});
