// SPDX-License-Identifier: Apache-2.0
/** PEFT's folders of trained token rows alone, of its `TrainableTokensConfig`: the same tokens in every table. */
import { type Json, jsonDifferences, type JsonObject } from "../../core/json.ts";
import { moduleOf } from "../../models/tensor_names.ts";
import { readBaseHead } from "./base_model.ts";
import { type AdapterFormat, shown } from "./file_format.ts";
import { peftMetadata, peftModelFields, readPeftBase } from "./peft_base.ts";
import { isNothing } from "./peft_fields.ts";

/** What the names of the rows have in files of a LoRA, and lack here. */
const WITHIN = /\.token_adapter(?=\.(?:trainable_tokens_delta|base_layer\.\w+)$)/;

/** The rows of a table that PEFT was told of though it is tied: the same once more. */
const TWICE = /\.base_layer\.trainable_tokens_delta$/;

/** A module's name, of which PEFT makes a regular expression where it stands alone. */
const NAME = /^[\w.-]+$/;

/** The format of `tokens`. */
export const PEFT_TOKENS_FORMAT: AdapterFormat = {
  peftType: "TRAINABLE_TOKENS",
  holds: ({ adapter: { config } }) => config["modulesToSave"] === undefined && sameTokens(config),
  metadata: peftMetadata,
  config({ adapter: { config }, parameters }, saved) {
    const modules = parameters.map(({ name }) => moduleOf(moduleOf(name)).slice("base_model.model.".length));
    return {
      peft_type: "TRAINABLE_TOKENS",
      ...peftModelFields(saved),
      token_indices: tokensOf(config)[0] as Json,
      target_modules: modules.length === 1 ? modules[0] as string : modules,
      init_weights: true,
    };
  },
  tensorNames: (name, copies) => [name, ...copies].map((file) => file.replace(WITHIN, "")),
  read(fields, { metadata }, problems) {
    return {
      kind: "tokens",
      options: readOptions(fields, problems),
      head: readBaseHead(metadata),
      source: { by: "peft", modules: [] },
      base: readPeftBase(fields, metadata),
      tensorsHash: null,
      parameterName: (file) =>
        TWICE.test(file)
          ? null
          : file.replace(/(?<!\.token_adapter)\.trainable_tokens_delta$/, ".token_adapter$&"),
    };
  },
};

/** The tokens of each table. */
function tokensOf(config: JsonObject): readonly Json[] {
  const tokens = config["trainableTokenIndices"] as Json;
  if (typeof tokens === "number") return [[tokens]];
  return Array.isArray(tokens)
    ? [tokens]
    : Object.values(tokens as JsonObject).map((ids) => [ids].flat() as Json);
}

function sameTokens(config: JsonObject): boolean {
  const [first, ...others] = tokensOf(config);
  return others.every((tokens) => jsonDifferences({ tokens }, { tokens: first as Json }).length === 0);
}

/** Fields that say nothing of the result: rows that were saved are there. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "inference_mode",
  "init_weights",
  "peft_type",
  "peft_version",
  "revision",
  "target_modules",
  "task_type",
  "token_indices",
]);

/** @mutates problems */
function readOptions(fields: JsonObject, problems: string[]): JsonObject {
  for (const [name, value] of Object.entries(fields)) {
    if (WITHOUT_EFFECT.has(name) || isNothing(value)) continue;
    problems.push(`"${name}" is ${shown(value)}, an option that is not supported here`);
  }
  const { token_indices: tokens = [], target_modules: targets = null } = fields;
  const names = [targets ?? []].flat();
  if (targets === null) return { trainableTokenIndices: tokens };
  if (!names.every((name) => typeof name === "string" && NAME.test(name))) {
    problems.push(`"target_modules" is ${shown(targets)}, expected names of modules`);
    return {};
  }
  return { trainableTokenIndices: Object.fromEntries(names.map((name) => [name as string, tokens])) };
}
