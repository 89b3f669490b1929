// SPDX-License-Identifier: Apache-2.0
/** The qwen3_moe family: qwen3 with mixtures of many small experts. */
import { booleanField, type ConfigFields, integerField } from "../config_fields.ts";
import { buildDecoder } from "./decoder.ts";
import { readDecoderConfig } from "./decoder_config.ts";
import {
  bareExpertModules,
  type ExpertsConfig,
  readExpertCounts,
  readExpertLayers,
  takesExperts,
} from "./experts.ts";
import type { Family } from "./family.ts";
import { optionalWindows } from "./windows.ts";

/** `model_type` "qwen3_moe". */
export const qwen3Moe: Family<ExpertsConfig> = {
  modelType: "qwen3_moe",
  heads: { Qwen3MoeForCausalLM: "lm", Qwen3MoeForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): ExpertsConfig {
    const shared = readDecoderConfig(fields, qwen3Moe, {
      numKeyValueHeads: 4,
      headDim: null,
      maxPositionEmbeddings: 32768,
      bosTokenId: null,
      eosTokenId: null,
    });
    const bias = booleanField(fields, "attention_bias", false);
    return {
      ...shared,
      ...readExpertCounts(fields, { experts: 128, active: 8 }),
      normalised: booleanField(fields, "norm_topk_prob", false),
      expertSize: integerField(fields, "moe_intermediate_size", { min: 1, missing: 768 }),
      sharedSize: 0,
      hasExperts: readExpertLayers(fields, shared.numHiddenLayers),
      slidingWindows: optionalWindows(fields, shared.numHiddenLayers, () => true),
      attentionBias: { qkv: bias, o: bias },
      mlpBias: false,
    };
  },
  build: (config, take) =>
    buildDecoder(config, take, {
      qkNorms: "head",
      ffn: takesExperts(config, take),
    }),
  bareModules: bareExpertModules,
};
