// SPDX-License-Identifier: Apache-2.0
/** Reads `config.json` and the token ids of `generation_config.json`. */
import { join } from "node:path";
import { quotedValue } from "../core/quoted.ts";
import { didYouMean } from "../core/suggestion.ts";
import { problemOf, saysNotFound } from "../files/errors.ts";
import { readJsonSync } from "../files/read.ts";
import {
  type ConfigFields,
  configFields,
  isPresent,
  isRecord,
  type Notes,
  tokenIdsField,
} from "./config_fields.ts";
import { checkParts } from "./check_parts.ts";
import { FAMILIES, familyFields, familyOf } from "./families/registry.ts";
import { givesTokens, type HeadConfig } from "./heads/head_config.ts";
import type { DecoderIds, ModelConfig } from "./model.ts";
import type { TensorShape } from "./parts.ts";
import { reportUnknown } from "./unknown_fields.ts";

/**
 * Reads the files of a folder.
 *
 * @param head In the place of the model's own
 * @returns The configuration, or null when there are problems
 * @mutates problems, warnings
 */
export function readConfig(
  dir: string,
  problems: string[],
  warnings: string[] = [],
  head?: HeadConfig,
): ModelConfig | null {
  const before = problems.length;
  const values = readJsonRecord(join(dir, "config.json"), problems, true);
  const generation = readJsonRecord(join(dir, "generation_config.json"), problems, false);
  const config = values === null ? null : readFamily(values, { problems, warnings });
  const full = config === null || generation === null
    ? config
    : withGenerationIds(config, generation, { problems, warnings });
  const headed = full && withHead(full, head ?? full.head, problems);
  return problems.length > before ? null : headed;
}

/**
 * Reads the contents of a `config.json`.
 *
 * @param head In the place of the model's own
 * @returns The configuration, or null when there are problems
 * @mutates problems, warnings
 */
export function parseConfig(
  values: Record<string, unknown>,
  problems: string[],
  warnings: string[] = [],
  head?: HeadConfig,
): ModelConfig | null {
  const before = problems.length;
  const config = readFamily(values, { problems, warnings });
  const headed = config && withHead(config, head ?? config.head, problems);
  return problems.length > before ? null : headed;
}

/**
 * The same model with another head. A head on sequences is tied to nothing.
 *
 * @mutates problems
 */
function withHead(config: ModelConfig, head: HeadConfig, problems: string[]): ModelConfig {
  const { heads } = familyOf(config);
  if (!Object.values(heads).includes(head.kind)) {
    problems.push(
      `A ${config.modelType} can have no ${head.kind} head, only: ${
        [...new Set(Object.values(heads))].join(", ")
      }`,
    );
  }
  return { ...config, head, tieWordEmbeddings: config.tieWordEmbeddings && givesTokens(head) };
}

/** @mutates notes */
function readFamily(values: Record<string, unknown>, notes: Notes): ModelConfig | null {
  const type = values["model_type"];
  const family = typeof type === "string" ? FAMILIES.get(type) : undefined;
  if (family === undefined) {
    notes.problems.push(
      `config.json: Field "model_type" ${
        type === undefined ? "is missing" : `is ${quotedValue(type)}`
      }, expected one of ${[...FAMILIES.keys()].join(", ")}` +
        didYouMean(String(type).slice(0, 32), FAMILIES.keys()),
    );
    return null;
  }
  return inFile("config.json", notes, (inner) => {
    const fields = familyFields(family, values, inner);
    readBothNames(fields);
    const config = family.readConfig(fields);
    const take = (name: string, rows: number | null, cols: number): TensorShape => ({ name, rows, cols });
    const parts = family.build(config, take);
    if (fields.problems.length === 0) checkParts(fields, config, parts);
    reportUnknown(fields, config, parts);
    return config;
  });
}

/** A field under the name that most families have beside the family's own says the same, or which is meant is unknown. @mutates fields */
function readBothNames(fields: ConfigFields): void {
  const { ownNames, values } = fields;
  for (const [name, own] of Object.entries(ownNames)) {
    if (!Object.hasOwn(values, own) || !Object.hasOwn(values, name)) continue;
    fields.used.add(name);
    if (values[name] === values[own]) continue;
    fields.problems.push(
      `Fields "${name}" (${quotedValue(values[name])}) and "${own}" (${
        quotedValue(values[own])
      }) differ: keep one`,
    );
  }
}

/** @mutates notes */
function withGenerationIds(
  config: ModelConfig,
  generation: Record<string, unknown>,
  notes: Notes,
): ModelConfig {
  return inFile("generation_config.json", notes, (inner) => {
    const fields = configFields(generation, inner);
    const ends = tokenIdsField(fields, "eos_token_id", config.vocabSize);
    const begin = tokenIdsField(fields, "bos_token_id", config.vocabSize)[0] ?? config.bosTokenId;
    return {
      ...config,
      bosTokenId: begin,
      eosTokenIds: ends.length > 0 ? ends : config.eosTokenIds,
      ...(config.decoderIds && { decoderIds: generationIds(fields, config.decoderIds, config.vocabSize) }),
    };
  });
}

/** What a decoder begins and ends with when it generates; what it read in training stays. @mutates fields */
function generationIds(fields: ConfigFields, own: DecoderIds, vocabSize: number): DecoderIds {
  const id = (name: string, missing: number | null): number | null =>
    isPresent(fields, name) ? tokenIdsField(fields, name, vocabSize)[0] ?? null : missing;
  return {
    ...own,
    startTokenId: id("decoder_start_token_id", own.startTokenId),
    forcedBosTokenId: id("forced_bos_token_id", own.forcedBosTokenId),
    forcedEosTokenId: id("forced_eos_token_id", own.forcedEosTokenId),
  };
}

/** What `read` has to say, with the file's name before it. @mutates notes */
function inFile<T>(name: string, notes: Notes, read: (notes: Notes) => T): T {
  const inner: Notes = { problems: [], warnings: [] };
  const result = read(inner);
  for (const problem of inner.problems) notes.problems.push(`${name}: ${problem}`);
  for (const warning of inner.warnings) notes.warnings.push(`${name}: ${warning}`);
  return result;
}

/** Configurations are a few kilobytes; what is larger than this is something else. */
const MOST_CONFIG_BYTES = 64 << 20;

/** @mutates problems */
function readJsonRecord(path: string, problems: string[], required: boolean): Record<string, unknown> | null {
  try {
    const value = readJsonSync(path, { maxBytes: MOST_CONFIG_BYTES });
    if (isRecord(value)) return value;
    problems.push(`${path} is not a JSON object`);
  } catch (error) {
    if (!saysNotFound(error)) problems.push(problemOf(error));
    else if (required) problems.push(`${path} does not exist`);
  }
  return null;
}
