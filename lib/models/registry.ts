// SPDX-License-Identifier: Apache-2.0
/** The model families there are: adding one is one file and one line here. */
import type { Family } from "./config.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";

/** Families by `model_type`. */
export const FAMILIES: ReadonlyMap<string, Family> = new Map(
  [llama, mistral, qwen2, qwen3].map((family) => [family.modelType, family]),
);
