// SPDX-License-Identifier: Apache-2.0
/** The llama family: optional biases in attention and feed-forward, rotary scaling, no windows. */
import { type Family, noWindows, readSharedConfig } from "./config.ts";
import { booleanField, type ConfigFields } from "./config_fields.ts";
import type { ModelConfig } from "./model.ts";

/** `model_type` "llama". */
export const llama: Family = {
  modelType: "llama",
  architecture: "LlamaForCausalLM",
  readConfig(fields: ConfigFields): ModelConfig {
    const shared = readSharedConfig(fields, llama, { numKeyValueHeads: null, headDim: null });
    const bias = booleanField(fields, "attention_bias", false);
    return {
      ...shared,
      slidingWindows: noWindows(fields, shared.numHiddenLayers),
      attentionBias: { qkv: bias, o: bias },
      mlpBias: booleanField(fields, "mlp_bias", false),
      headNorms: false,
    };
  },
};
