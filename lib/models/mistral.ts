// SPDX-License-Identifier: Apache-2.0
/** The mistral family: one sliding window for all layers, or none; no biases. */
import { type Family, readLayerTypes, readSharedConfig } from "./config.ts";
import { type ConfigFields, integerField, problem } from "./config_fields.ts";
import type { ModelConfig } from "./model.ts";

/** What transformers takes for a window that is not given; null means none. */
const DEFAULT_WINDOW = 4096;

/** `model_type` "mistral". */
export const mistral: Family = {
  modelType: "mistral",
  architecture: "MistralForCausalLM",
  readConfig(fields: ConfigFields): ModelConfig {
    const shared = readSharedConfig(fields, mistral, { numKeyValueHeads: 8, headDim: null });
    return {
      ...shared,
      slidingWindows: readWindows(fields, shared.numHiddenLayers),
      attentionBias: { qkv: false, o: false },
      mlpBias: false,
      headNorms: false,
    };
  },
};

function readWindows(fields: ConfigFields, layers: number): number[] {
  const size = integerField(fields, "sliding_window", { min: 1, missing: null });
  const window = "sliding_window" in fields.values ? size ?? 0 : DEFAULT_WINDOW;
  const type = window > 0 ? "sliding_attention" : "full_attention";
  const types = readLayerTypes(fields, layers);
  if (types?.some((given) => given !== type)) problem(fields, "layer_types", `"${type}" throughout`, null);
  return new Array<number>(layers).fill(window);
}
