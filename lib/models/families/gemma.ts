// SPDX-License-Identifier: Apache-2.0
/** The gemma family: a gated feed-forward of GELU, norms by one plus their weight, scaled embeddings. */
import type { ActivationKind } from "../../ops/kernels/model.ts";
import { type ConfigFields, rawField } from "../config_fields.ts";
import { activationField } from "./common_config.ts";
import { bareDecoderModules, buildDecoder } from "./decoder.ts";
import { type DecoderConfig, readDecoderConfig } from "./decoder_config.ts";
import type { Family } from "./family.ts";
import { GEMMA_DEFAULTS, gemmaStyle, readAttentionBias } from "./gemma_parts.ts";
import { noWindows } from "./windows.ts";

/** `model_type` "gemma". */
export const gemma: Family<DecoderConfig> = {
  modelType: "gemma",
  heads: { GemmaForCausalLM: "lm", GemmaForSequenceClassification: "classification" },
  readConfig(fields: ConfigFields): DecoderConfig {
    const shared = readDecoderConfig(fields, gemma, {
      ...GEMMA_DEFAULTS,
      numKeyValueHeads: 16,
      maxPositionEmbeddings: 8192,
      readActivation,
    });
    return {
      ...shared,
      slidingWindows: noWindows(fields, shared.numHiddenLayers, shared.maxPositionEmbeddings),
      attentionBias: readAttentionBias(fields),
      mlpBias: false,
    };
  },
  build: (config, take) => buildDecoder(config, take, gemmaStyle(config)),
  bareModules: (config) => bareDecoderModules(config),
};

/** Whose checkpoints say "gelu" and mean its tanh form, whatever `hidden_activation` says. @mutates fields */
function readActivation(fields: ConfigFields): ActivationKind {
  rawField(fields, "hidden_activation");
  const kind = activationField(fields, "hidden_act", "gelu_pytorch_tanh");
  return kind === "gelu" ? "gelu_tanh" : kind;
}
