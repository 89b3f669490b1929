// SPDX-License-Identifier: Apache-2.0
/** LoRA (Hu et al., ICLR 2022), what people compare with. */
import type { LoraOptions } from "../adapters/lora/config.ts";
import type { Method } from "./method.ts";

/**
 * A low-rank delta on every weight of a layer, or on those chosen. The learning rate is the default of PEFT's own
 * comparison of methods, and the same as that of the other adapters here.
 */
export function lora(options: LoraOptions = {}): Method {
  return {
    name: "lora",
    summary: "low-rank deltas of the weights, in PEFT's files",
    adapter: { kind: "lora", options: { ...options } },
    optimizer: { lr: 1e-4 },
    activations: "store",
  };
}
