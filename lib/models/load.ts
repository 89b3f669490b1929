// SPDX-License-Identifier: Apache-2.0
/** Loads a Hugging Face checkpoint folder as it is. */
import { basename, join } from "node:path";
import { ValidationError } from "../core/errors.ts";
import { didYouMean } from "../core/suggestion.ts";
import { formatShape } from "../core/shape.ts";
import type { Kernels } from "../ops/kernels.ts";
import { openWeights, weightDTypeProblem } from "../storage/weights.ts";
import { type CheckpointIndex, indexCheckpoint } from "../tensor/checkpoint_index.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Weight } from "../tensor/tensor.ts";
import { IGNORABLE_FIELDS } from "./config.ts";
import { configFields, isRecord, reportUnknown, tokenIdsField } from "./config_fields.ts";
import type { Model, ModelConfig } from "./model.ts";
import { FAMILIES } from "./registry.ts";
import { createRopeCache } from "./rope.ts";
import { buildWeights, HEAD_NAME, IGNORABLE_TENSORS } from "./weights.ts";

/**
 * Loads a model: reads its configuration, checks every tensor, maps its files. Weights stay in the checkpoint's dtype and
 * are not read before they are used.
 *
 * @param dir Folder with `config.json`, `*.safetensors` and, if wanted, `generation_config.json`
 * @throws {ValidationError} Listing everything that is wrong: missing or malformed files, missing, unknown or unsupported
 *   configuration fields, missing, surplus or wrongly shaped tensors
 */
export function loadModel(dir: string, kernels: Kernels): Model {
  const problems: string[] = [];
  const config = readConfig(dir, problems);
  const checkpoint = indexCheckpoint(dir, problems);
  if (config !== null && checkpoint.tensors.size > 0) checkTensors(config, checkpoint, kernels, problems);
  if (config === null || problems.length > 0) throw new ValidationError(`Model ${dir}`, problems);

  using owned = new DisposableStack();
  const source = owned.use(openWeights(kernels));
  const weights = buildWeights(
    config,
    (name): Weight => source.load(checkpoint.tensors.get(name) as TensorEntry),
  );
  const rope = owned.use(createRopeCache(kernels, config));
  const files = owned.move();
  return { dir, config, weights, kernels, checkpoint, rope, [Symbol.dispose]: () => files.dispose() };
}

/**
 * Reads `config.json` and the token ids of `generation_config.json`.
 *
 * @returns The configuration, or null when there are problems
 * @mutates problems
 */
export function readConfig(dir: string, problems: string[]): ModelConfig | null {
  const before = problems.length;
  const values = readJsonRecord(join(dir, "config.json"), problems, true);
  const generation = readJsonRecord(join(dir, "generation_config.json"), problems, false);
  const config = values === null ? null : readFamily(values, problems);
  const full = config === null || generation === null
    ? config
    : withGenerationIds(config, generation, problems);
  return problems.length > before ? null : full;
}

/**
 * Reads the contents of a `config.json`.
 *
 * @returns The configuration, or null when there are problems
 * @mutates problems
 */
export function parseConfig(values: Record<string, unknown>, problems: string[]): ModelConfig | null {
  const before = problems.length;
  const config = readFamily(values, problems);
  return problems.length > before ? null : config;
}

function readFamily(values: Record<string, unknown>, problems: string[]): ModelConfig | null {
  const type = values["model_type"];
  const family = FAMILIES.get(String(type));
  if (family === undefined) {
    problems.push(
      `config.json: Field "model_type" ${
        type === undefined ? "is missing" : `is ${JSON.stringify(type)}`
      }, expected one of ${[...FAMILIES.keys()].join(", ")}` +
        didYouMean(String(type), FAMILIES.keys()),
    );
    return null;
  }
  const fields = configFields(values, []);
  const config = family.readConfig(fields);
  reportUnknown(fields, IGNORABLE_FIELDS);
  problems.push(...fields.problems.map((problem) => `config.json: ${problem}`));
  return config;
}

function withGenerationIds(
  config: ModelConfig,
  generation: Record<string, unknown>,
  problems: string[],
): ModelConfig {
  const fields = configFields(generation, []);
  const ends = tokenIdsField(fields, "eos_token_id");
  const begin = tokenIdsField(fields, "bos_token_id")[0] ?? config.bosTokenId;
  problems.push(...fields.problems.map((problem) => `generation_config.json: ${problem}`));
  return { ...config, bosTokenId: begin, eosTokenIds: ends.length > 0 ? ends : config.eosTokenIds };
}

function readJsonRecord(path: string, problems: string[], required: boolean): Record<string, unknown> | null {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) problems.push(`${path} cannot be read: ${error}`);
    else if (required) problems.push(`${path} does not exist`);
    return null;
  }
  try {
    const value: unknown = JSON.parse(text);
    if (isRecord(value)) return value;
    problems.push(`${path} is not a JSON object`);
  } catch (error) {
    problems.push(`${path} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  return null;
}

/** Compares the tensors there are with those the configuration asks for. @mutates problems */
function checkTensors(
  config: ModelConfig,
  checkpoint: CheckpointIndex,
  kernels: Kernels,
  problems: string[],
): void {
  const wanted = new Set<string>();
  const check = (name: string, shape: readonly number[]): void => {
    wanted.add(name);
    const entry = checkpoint.tensors.get(name);
    if (entry === undefined) {
      problems.push(`Tensor "${name}" ${formatShape(shape)} is missing`);
      return;
    }
    if (formatShape(entry.shape) !== formatShape(shape)) {
      problems.push(
        `Tensor "${name}" in ${basename(entry.path)} has shape ${formatShape(entry.shape)}, expected ${
          formatShape(shape)
        }`,
      );
    }
    const problem = weightDTypeProblem(kernels, entry);
    if (problem !== null) problems.push(problem);
  };
  buildWeights(config, (name, rows, cols) => check(name, rows === null ? [cols] : [rows, cols]));
  const copies = config.tieWordEmbeddings && checkpoint.tensors.has(HEAD_NAME);
  if (copies) check(HEAD_NAME, [config.vocabSize, config.hiddenSize]);
  for (const { name, path } of checkpoint.tensors.values()) {
    if (wanted.has(name) || IGNORABLE_TENSORS.test(name)) continue;
    problems.push(`Tensor "${name}" in ${basename(path)} is unknown: the configuration has no place for it`);
  }
}
