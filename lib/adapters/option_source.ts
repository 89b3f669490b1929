// SPDX-License-Identifier: Apache-2.0
/** Who wrote the options of an adapter: what mistakes in them are called, and which are mistakes at all. */
import type { ModuleRoot } from "../models/modules.ts";

/**
 * The user, for a new adapter; or PEFT, which saved one: there, options that match nothing have had no effect, and names of
 * modules are those of the model that PEFT had.
 */
export type OptionSource = { readonly by: "user" } | { readonly by: "peft"; readonly root: ModuleRoot };

/** PEFT's names of the options of LoRA. */
export const PEFT_NAMES = {
  rank: "r",
  alpha: "lora_alpha",
  dropout: "lora_dropout",
  useRslora: "use_rslora",
  targets: "target_modules",
  excludeTargets: "exclude_modules",
  layersToTransform: "layers_to_transform",
  layersPattern: "layers_pattern",
  rankPattern: "rank_pattern",
  alphaPattern: "alpha_pattern",
} as const;

/** An option in a message, by the name that its writer knows. */
export function optionLabel(name: keyof typeof PEFT_NAMES, { by }: OptionSource): string {
  return by === "peft" ? `"${PEFT_NAMES[name]}"` : name;
}
