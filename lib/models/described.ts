// SPDX-License-Identifier: Apache-2.0
/** A model of which only the configuration is there: names, shapes and types of its weights, and none of their values. */
import { basename, dirname } from "node:path";
import { ValidationError } from "../core/errors.ts";
import { BYTES_PER_ELEMENT, type WeightDType } from "../core/dtype.ts";
import { readJsonSync } from "../files/read.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Weight } from "../tensor/tensor.ts";
import { buildParts } from "./families/registry.ts";
import { chosenRows, withVocabSize } from "./grow_vocabulary.ts";
import { parseConfig, readConfig } from "./read_config.ts";
import type { OpenCheckpointOptions } from "./load.ts";
import type { Model } from "./model.ts";
import { storedShape } from "./tensor_names.ts";
import type { RopeCache } from "./rotary.ts";

/** Types as `config.json` calls them. */
const CHECKPOINT_DTYPES: Readonly<Record<string, WeightDType>> = {
  bfloat16: "bf16",
  float16: "f16",
  float32: "f32",
  float64: "f32", // what the CPU and a device hold it as
};

/**
 * Describes a model by its `config.json` alone, to plan a run and predict its needs. Nothing can be computed with it.
 *
 * @param config The file, its folder, or its parsed contents
 * @param kernels Their type of matrix products and their loss chunks count in predictions
 * @throws {ValidationError} Listing everything that is wrong with the configuration
 */
export function describeModel(
  config: string | Readonly<Record<string, unknown>>,
  kernels: Kernels,
  options: OpenCheckpointOptions = {},
): Model {
  const problems: string[] = [];
  const warnings: string[] = [];
  const dir = typeof config === "string" ? folderOf(config) : "config";
  const parsed = typeof config === "string"
    ? readConfig(dir, problems, warnings, options.head)
    : parseConfig({ ...config }, problems, warnings, options.head);
  if (parsed === null) throw new ValidationError(`Model ${dir}`, problems);
  const larger = withVocabSize(parsed, chosenRows(parsed, options.vocabulary ?? {}));
  const values = typeof config === "string" ? rawConfig(dir) : config;
  return describe({ dir, config: larger, kernels, warnings }, storedDType(values), parsed.vocabSize);
}

/** A model without its weights' values, for kernels that compute nothing. Rotary tables have no rows. */
export function weightlessModel(
  { dir, config, parts, checkpoint, fresh, vocabulary, warnings }: Model,
  kernels: Kernels,
): Model {
  const [cos, sin] = [kernels.floats(0), kernels.floats(0)];
  const rope = Object.entries(parts.rotary).map(([name, { rotaryDim }]) => {
    const tables = { cos, sin, rows: 0, rotaryDim };
    const cache: RopeCache = { rowsFor: (positions) => ({ tables, rows: positions }), [Symbol.dispose]() {} };
    return [name, cache] as const;
  });
  return {
    ...{ dir, config, parts, checkpoint, fresh, warnings, kernels, weightless: true },
    ...(vocabulary && { vocabulary }),
    rope: new Map(rope),
    [Symbol.dispose]() {},
  };
}

function folderOf(path: string): string {
  return basename(path) === "config.json" ? dirname(path) : path;
}

function rawConfig(dir: string): Readonly<Record<string, unknown>> {
  return readJsonSync(`${dir}/config.json`) as Readonly<Record<string, unknown>>;
}

/** Type of the weights; bf16 where the configuration does not say. */
function storedDType(values: Readonly<Record<string, unknown>>): WeightDType {
  return CHECKPOINT_DTYPES[String(values["dtype"] ?? values["torch_dtype"])] ?? "bf16";
}

function describe(
  known: Pick<Model, "dir" | "config" | "kernels" | "warnings">,
  dtype: WeightDType,
  storedRows: number,
): Model {
  const { dir, config } = known;
  const path = `${dir}/model.safetensors`;
  const tensors = new Map<string, TensorEntry>();
  let offsetBytes = 0;
  const parts = buildParts(config, (name, rows, cols, stored): Weight => {
    const shape = storedShape({ rows, cols, stored });
    const bytes = (rows ?? 1) * cols * BYTES_PER_ELEMENT[dtype];
    tensors.set(name, { name, dtype, shape, path, offsetBytes, bytes });
    offsetBytes += bytes;
    return { name, dtype, rows: rows ?? 1, cols, data: null, mapped: null, grad: null };
  });
  const file = { path, fileBytes: offsetBytes, headerBytes: 0, metadata: {}, tensors, state: null };
  return {
    ...known,
    parts,
    checkpoint: { files: [file], tensors },
    fresh: new Set(),
    ...(storedRows !== config.vocabSize && {
      vocabulary: { storedRows, tables: new Map(), added: [], tokenizer: null },
    }),
    weightless: true,
    rope: new Map(Object.keys(parts.rotary).map((name) => [name, noTables(dir)])),
    [Symbol.dispose]() {},
  };
}

function noTables(dir: string): RopeCache {
  return {
    rowsFor(): never {
      throw new Error(`Model ${dir} has no weights: it was only described, to plan with`);
    },
    [Symbol.dispose]() {},
  };
}
