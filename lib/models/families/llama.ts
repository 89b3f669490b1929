// SPDX-License-Identifier: Apache-2.0
/** The llama family: optional biases in attention and feed-forward, rotary scaling, no windows. */
import { readSharedConfig } from "./shared_config.ts";
import { booleanField, type ConfigFields } from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import { noWindows } from "./windows.ts";
import { bareDecoderModules, buildDecoder } from "./decoder.ts";
import type { Family } from "./family.ts";

/** `model_type` "llama". */
export const llama: Family = {
  modelType: "llama",
  heads: { LlamaForCausalLM: "lm", LlamaForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): ModelConfig {
    const shared = readSharedConfig(fields, llama, {
      numKeyValueHeads: null,
      headDim: null,
      maxPositionEmbeddings: 2048,
      bosTokenId: 1,
      eosTokenId: 2,
    });
    const bias = booleanField(fields, "attention_bias", false);
    return {
      ...shared,
      slidingWindows: noWindows(fields, shared.numHiddenLayers, shared.maxPositionEmbeddings),
      attentionBias: { qkv: bias, o: bias },
      mlpBias: booleanField(fields, "mlp_bias", false),
      headNorms: false,
    };
  },
  build: (config, take) => buildDecoder(config, take),
  bareModules: (config) => bareDecoderModules(config),
};
