// SPDX-License-Identifier: Apache-2.0
/** The gemma3_text family: norms as in gemma2 and of heads; five layers of six have a window and a rotary embedding of their own. */
import { booleanField, type ConfigFields, integerField, numberField, rawField } from "../config_fields.ts";
import { readRope } from "../rope_config.ts";
import type { Rotary } from "../rotary.ts";
import { bareDecoderModules, buildDecoder, ROTARY } from "./decoder.ts";
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
import { ropesByLayerType } from "./layer_ropes.ts";
import { typedWindows } from "./windows.ts";

interface Gemma3Config extends DecoderConfig {
  readonly queryPreAttnScalar: number;
  /** Whether tokens see what comes after them, too. */
  readonly isBidirectional: boolean;
  readonly finalLogitSoftcapping: number;
  /** Of the layers with a window. */
  readonly localRotary: Rotary;
}

/** Name of the rotary embedding of layers with a window. */
const LOCAL = "local";
const THETA = { global: 1000000, local: 10000 };

/** `model_type` "gemma3_text": gemma 3 without its eyes. */
export const gemma3Text: Family<Gemma3Config> = {
  modelType: "gemma3_text",
  heads: { Gemma3ForCausalLM: "lm", Gemma3TextForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): Gemma3Config {
    const ropes = ropesByLayerType(fields);
    const shared = readDecoderConfig(ropes.full, gemma3Text, {
      ...GEMMA_DEFAULTS,
      numKeyValueHeads: 4,
      maxPositionEmbeddings: 131072,
      rope: { ropeTheta: THETA.global },
      readActivation: readHiddenActivation,
    });
    const { headDim, maxPositionEmbeddings, numHiddenLayers } = shared;
    const ropeTheta = numberField(fields, "rope_local_base_freq", { above: 0, missing: THETA.local });
    const local = readRope(ropes.sliding, { maxPositionEmbeddings, headDim, ropeTheta });
    // Kept beside layer_types by transformers, which made those of it.
    rawField(fields, "_sliding_window_pattern");
    if (readSoftcap(fields, "attn_logit_softcapping", 0) > 0) {
      fields.warnings.push(
        'Field "attn_logit_softcapping" is passed over, as transformers does: scores have no cap',
      );
    }
    const period = integerField(fields, "sliding_window_pattern", { min: 1, missing: 6 });
    return {
      ...shared,
      slidingWindows: typedWindows(fields, numHiddenLayers, {
        missing: 4096,
        slides: (layer) => (layer + 1) % period !== 0,
      }),
      attentionBias: readAttentionBias(fields),
      mlpBias: false,
      queryPreAttnScalar: numberField(fields, "query_pre_attn_scalar", { above: 0, missing: 256 }),
      isBidirectional: booleanField(fields, "use_bidirectional_attention", false),
      finalLogitSoftcapping: readSoftcap(fields, "final_logit_softcapping", 0),
      localRotary: { ...local, maxPositionEmbeddings },
    };
  },
  build: (config, take) =>
    buildDecoder(config, take, {
      ...gemmaStyle(config),
      names: FOUR_NORMS,
      qkNorms: "head",
      logitSoftcap: config.finalLogitSoftcapping,
      rotary: { [LOCAL]: config.localRotary },
      attention: (layer) => ({
        rotary: config.slidingWindows[layer] === 0 ? ROTARY : LOCAL,
        scale: config.queryPreAttnScalar ** -0.5,
        // A window reaches half of its size to each side.
        sees: config.isBidirectional ? "all" : "past",
      }),
    }),
  bareModules: (config) => bareDecoderModules(config),
};
