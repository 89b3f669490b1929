// SPDX-License-Identifier: Apache-2.0
/** The qwen2_moe family: qwen2 with mixtures of many small experts, and one that all tokens have. */
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

/** `model_type` "qwen2_moe". */
export const qwen2Moe: Family<ExpertsConfig> = {
  modelType: "qwen2_moe",
  heads: { Qwen2MoeForCausalLM: "lm", Qwen2MoeForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): ExpertsConfig {
    const shared = readDecoderConfig(fields, qwen2Moe, {
      numKeyValueHeads: 16,
      headDim: null,
      maxPositionEmbeddings: 32768,
      bosTokenId: null,
      eosTokenId: null,
    });
    return {
      ...shared,
      ...readExpertCounts(fields, { experts: 60, active: 4 }),
      normalised: booleanField(fields, "norm_topk_prob", false),
      expertSize: integerField(fields, "moe_intermediate_size", { min: 1, missing: 1408 }),
      sharedSize: integerField(fields, "shared_expert_intermediate_size", { min: 1, missing: 5632 }),
      hasExperts: readExpertLayers(fields, shared.numHiddenLayers),
      slidingWindows: optionalWindows(
        fields,
        shared.numHiddenLayers,
        (layer, most) => layer % 2 === 0 && layer < most,
      ),
      attentionBias: { qkv: booleanField(fields, "qkv_bias", true), o: false },
      mlpBias: false,
    };
  },
  build: (config, take) =>
    buildDecoder(config, take, {
      ffn: takesExperts(config, take),
    }),
  bareModules: bareExpertModules,
};
