// SPDX-License-Identifier: Apache-2.0
/** The mistral family: one sliding window for all layers, some, or none; no biases. */
import type { ConfigFields } from "../config_fields.ts";
import { alwaysWindows } from "./windows.ts";
import { bareDecoderModules, buildDecoder } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";

/** `model_type` "mistral". */
export const mistral: Family<DecoderConfig> = {
  modelType: "mistral",
  heads: { MistralForCausalLM: "lm", MistralForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): DecoderConfig {
    const shared = readDecoderConfig(fields, mistral, {
      numKeyValueHeads: 8,
      headDim: null,
      maxPositionEmbeddings: 131072,
      bosTokenId: 1,
      eosTokenId: 2,
    });
    return {
      ...shared,
      slidingWindows: alwaysWindows(fields, shared.numHiddenLayers),
      attentionBias: { qkv: false, o: false },
      mlpBias: false,
    };
  },
  build: (config, take) => buildDecoder(config, take),
  bareModules: (config) => bareDecoderModules(config),
};
