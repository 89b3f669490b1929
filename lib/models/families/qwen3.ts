// SPDX-License-Identifier: Apache-2.0
/** The qwen3 family: norms of query and key heads, a head size of its own, optional attention biases and windows. */
import { booleanField, type ConfigFields } from "../config_fields.ts";
import { optionalWindows } from "./windows.ts";
import { bareDecoderModules, buildDecoder } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";

/** `model_type` "qwen3". */
export const qwen3: Family<DecoderConfig> = {
  modelType: "qwen3",
  heads: { Qwen3ForCausalLM: "lm", Qwen3ForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): DecoderConfig {
    const shared = readDecoderConfig(fields, qwen3, {
      numKeyValueHeads: 32,
      headDim: 128,
      maxPositionEmbeddings: 32768,
      bosTokenId: null,
      eosTokenId: null,
    });
    const bias = booleanField(fields, "attention_bias", false);
    return {
      ...shared,
      slidingWindows: optionalWindows(fields, shared.numHiddenLayers),
      attentionBias: { qkv: bias, o: bias },
      mlpBias: false,
    };
  },
  build: (config, take) => buildDecoder(config, take, { qkNorms: "head" }),
  bareModules: (config) => bareDecoderModules(config),
};
