// SPDX-License-Identifier: Apache-2.0
/** The model families there are: adding one is one file and one line here. */
import { type ConfigFields, configFields, type Notes } from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import type { ModelParts, TakeTensor } from "../parts.ts";
import { deit } from "./deit.ts";
import type { Family } from "./family.ts";
import { gemma } from "./gemma.ts";
import { gemma2 } from "./gemma2.ts";
import { gemma3Text } from "./gemma3_text.ts";
import { gpt2 } from "./gpt2.ts";
import { bart } from "./bart.ts";
import { bert } from "./bert.ts";
import { camembert } from "./camembert.ts";
import { distilbert } from "./distilbert.ts";
import { llama } from "./llama.ts";
import { mbart } from "./mbart.ts";
import { mistral } from "./mistral.ts";
import { mixtral } from "./mixtral.ts";
import { modernbert } from "./modernbert.ts";
import { olmo2 } from "./olmo2.ts";
import { opt } from "./opt.ts";
import { phi3 } from "./phi3.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen2Moe } from "./qwen2_moe.ts";
import { qwen3 } from "./qwen3.ts";
import { qwen3Moe } from "./qwen3_moe.ts";
import { roberta } from "./roberta.ts";
import { xlmRoberta } from "./xlm_roberta.ts";
import { smollm3 } from "./smollm3.ts";
import { vit } from "./vit.ts";

/** Families by `model_type`. */
export const FAMILIES: ReadonlyMap<string, Family> = new Map(
  [
    ...[llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3Text, phi3, olmo2, smollm3],
    ...[gpt2, opt],
    ...[mixtral, qwen2Moe, qwen3Moe],
    ...[bert, distilbert, roberta, xlmRoberta, camembert, modernbert],
    ...[bart, mbart],
    ...[deit, vit],
  ].map((family: Family) => [family.modelType, family]),
);

/**
 * The family of a configuration that was read.
 *
 * @throws {RangeError} When there is none
 */
export function familyOf({ modelType }: Pick<ModelConfig, "modelType">): Family {
  const family = FAMILIES.get(modelType);
  if (!family) throw new RangeError(`There is no model family "${modelType}"`);
  return family;
}

/** The model of a configuration, as its family builds it; see `Family.build`. */
export function buildParts<W>(config: ModelConfig, take: TakeTensor<W>): ModelParts<W> {
  return familyOf(config).build(config, take);
}

/** Fields of a family's `config.json`, none read yet, by the names that most families have. */
export function familyFields(
  { fieldNames = {} }: Family,
  values: Readonly<Record<string, unknown>>,
  notes: Notes,
): ConfigFields {
  return configFields(values, notes, { ownNames: fieldNames });
}

/** A family's smallest model, by names: what can be told of all its models. @param values Fields of its `config.json` */
export function smallestOf(
  family: Family,
  values: Readonly<Record<string, unknown>> = {},
): ModelParts<string> {
  // What is missing is a problem that nobody hears of, and 1.
  const config = family.readConfig(familyFields(family, values, { problems: [], warnings: [] }));
  return family.build(config, (name) => name);
}
