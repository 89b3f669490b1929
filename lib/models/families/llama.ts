// SPDX-License-Identifier: Apache-2.0
/** The llama family: optional biases in attention and feed-forward, rotary scaling, no windows. */
import { booleanField, type ConfigFields } from "../config_fields.ts";
import { noWindows } from "./windows.ts";
import { bareDecoderModules, buildDecoder } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";

/** `model_type` "llama". */
export const llama: Family<DecoderConfig> = {
  modelType: "llama",
  heads: { LlamaForCausalLM: "lm", LlamaForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): DecoderConfig {
    const shared = readDecoderConfig(fields, llama, {
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
    };
  },
  build: (config, take) => buildDecoder(config, take),
  bareModules: (config) => bareDecoderModules(config),
};
