// SPDX-License-Identifier: Apache-2.0
/** The phi3 family: queries, keys and values in one product, gate and up in another; heads that turn in part; longrope. */
import { type ConfigFields, rawField } from "../config_fields.ts";
import { bareDecoderModules, buildDecoder, type DecoderNames, LLAMA_NAMES } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";
import { sameWindows } from "./windows.ts";

const NAMES: DecoderNames = {
  ...LLAMA_NAMES,
  qkv: "qkv_proj",
  gateUp: "gate_up_proj",
  activation: "activation_fn",
};

/** `model_type` "phi3": Phi-3 and Phi-4. */
export const phi3: Family<DecoderConfig> = {
  modelType: "phi3",
  heads: { Phi3ForCausalLM: "lm", Phi3ForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): DecoderConfig {
    const shared = readDecoderConfig(fields, phi3, {
      numKeyValueHeads: null,
      headDim: null,
      maxPositionEmbeddings: 4096,
      rmsNormEps: 1e-5,
      rope: {
        original: 4096,
        partial: true,
        types: ["default", "longrope"],
        typeAliases: { yarn: "longrope", su: "longrope" },
      },
      bosTokenId: 1,
      eosTokenId: 32000,
    });
    // Of its makers' own code, and read by nobody.
    ["full_attn_mod", "interpolate_factor"].forEach((name) => rawField(fields, name));
    return {
      ...shared,
      slidingWindows: sameWindows(fields, shared.numHiddenLayers),
      attentionBias: { qkv: false, o: false },
      mlpBias: false,
    };
  },
  build: (config, take) => buildDecoder(config, take, { names: NAMES, renewsKeys: true }),
  bareModules: (config) => bareDecoderModules(config, NAMES),
};
