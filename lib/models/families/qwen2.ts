// SPDX-License-Identifier: Apache-2.0
/** The qwen2 family: biases on queries, keys and values; windows in the later layers when switched on. */
import { booleanField, type ConfigFields } from "../config_fields.ts";
import { optionalWindows } from "./windows.ts";
import { bareDecoderModules, buildDecoder } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";

/** `model_type` "qwen2". */
export const qwen2: Family<DecoderConfig> = {
  modelType: "qwen2",
  heads: { Qwen2ForCausalLM: "lm", Qwen2ForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): DecoderConfig {
    const shared = readDecoderConfig(fields, qwen2, {
      numKeyValueHeads: 32,
      headDim: null,
      maxPositionEmbeddings: 32768,
      bosTokenId: null,
      eosTokenId: null,
    });
    // Written by some tools, and read by nobody: queries, keys and values always have biases, outputs never.
    booleanField(fields, "attention_bias", true);
    return {
      ...shared,
      slidingWindows: optionalWindows(fields, shared.numHiddenLayers),
      attentionBias: { qkv: true, o: false },
      mlpBias: false,
    };
  },
  build: (config, take) => buildDecoder(config, take),
  bareModules: (config) => bareDecoderModules(config),
};
