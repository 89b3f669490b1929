// SPDX-License-Identifier: Apache-2.0
/** The olmo2 family: what a sublayer adds is normed and its input is not; norms of queries and keys over all heads. */
import { booleanField, type ConfigFields } from "../config_fields.ts";
import { bareDecoderModules, buildDecoder, type DecoderNames, LLAMA_NAMES } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";
import { noWindows } from "./windows.ts";

const NAMES: DecoderNames = {
  ...LLAMA_NAMES,
  attentionNorms: { input: null, output: "post_attention_layernorm" },
  ffnNorms: { input: null, output: "post_feedforward_layernorm" },
};

/** `model_type` "olmo2". */
export const olmo2: Family<DecoderConfig> = {
  modelType: "olmo2",
  heads: { Olmo2ForCausalLM: "lm", Olmo2ForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): DecoderConfig {
    const shared = readDecoderConfig(fields, olmo2, {
      numKeyValueHeads: null,
      headDim: null,
      maxPositionEmbeddings: 2048,
      rmsNormEps: 1e-5,
      bosTokenId: null,
      eosTokenId: 50279,
    });
    const bias = booleanField(fields, "attention_bias", false);
    return {
      ...shared,
      slidingWindows: noWindows(fields, shared.numHiddenLayers, shared.maxPositionEmbeddings),
      attentionBias: { qkv: bias, o: bias },
      mlpBias: false,
    };
  },
  build: (config, take) => buildDecoder(config, take, { names: NAMES, qkNorms: "projection" }),
  bareModules: (config) => bareDecoderModules(config),
};
