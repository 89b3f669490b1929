// SPDX-License-Identifier: Apache-2.0
/** Places of a layer where an adapter may attach. */
import type { Hooks } from "./hooks.ts";
import type { LayerWeights } from "./model.ts";

/** Sites that see the input and the output of one weight. */
export const LINEAR_SITES = [
  "q",
  "k",
  "v",
  "o",
  "gate",
  "up",
  "down",
] as const satisfies readonly (keyof LayerWeights)[];

/** Sites that see the normalised input of a half block and add to its output. */
export const BRANCH_SITES = ["attention", "ffn"] as const satisfies readonly (keyof Hooks)[];
