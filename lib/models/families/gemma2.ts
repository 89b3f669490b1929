// SPDX-License-Identifier: Apache-2.0
/** The gemma2 family: norms before and behind each sublayer, capped scores and logits, a window in every other layer. */
import { type ConfigFields, numberField } from "../config_fields.ts";
import { bareDecoderModules, buildDecoder } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";
import {
  FOUR_NORMS,
  GEMMA_DEFAULTS,
  gemmaStyle,
  readAttentionBias,
  readHiddenActivation,
  readSoftcap,
} from "./gemma_parts.ts";
import { typedWindows } from "./windows.ts";

interface Gemma2Config extends DecoderConfig {
  readonly queryPreAttnScalar: number;
  readonly attnLogitSoftcapping: number;
  readonly finalLogitSoftcapping: number;
}

/** `model_type` "gemma2". */
export const gemma2: Family<Gemma2Config> = {
  modelType: "gemma2",
  heads: { Gemma2ForCausalLM: "lm", Gemma2ForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): Gemma2Config {
    const shared = readDecoderConfig(fields, gemma2, {
      ...GEMMA_DEFAULTS,
      numKeyValueHeads: 4,
      maxPositionEmbeddings: 8192,
      readActivation: readHiddenActivation,
    });
    return {
      ...shared,
      slidingWindows: typedWindows(fields, shared.numHiddenLayers, {
        missing: 4096,
        slides: (layer) => layer % 2 === 0,
      }),
      attentionBias: readAttentionBias(fields),
      mlpBias: false,
      queryPreAttnScalar: numberField(fields, "query_pre_attn_scalar", { above: 0, missing: 256 }),
      attnLogitSoftcapping: readSoftcap(fields, "attn_logit_softcapping", 50),
      finalLogitSoftcapping: readSoftcap(fields, "final_logit_softcapping", 30),
    };
  },
  build: (config, take) =>
    buildDecoder(config, take, {
      ...gemmaStyle(config),
      names: FOUR_NORMS,
      logitSoftcap: config.finalLogitSoftcapping,
      attention: () => ({
        scale: config.queryPreAttnScalar ** -0.5,
        softcap: config.attnLogitSoftcapping,
      }),
    }),
  bareModules: (config) => bareDecoderModules(config),
};
