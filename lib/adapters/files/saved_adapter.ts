// SPDX-License-Identifier: Apache-2.0
/** A saved adapter whose tensors are still in its file: checked against those that a model's adapter has, and read into them. */
import { throwIfAny } from "../../core/errors.ts";
import { formatShape } from "../../core/shape.ts";
import { chosenRows } from "../../models/grow_vocabulary.ts";
import type { HeadConfig } from "../../models/heads/head_config.ts";
import type { Model } from "../../models/model.ts";
import { type Parameter, parameterShape } from "../../optim/parameters.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { writeFloats } from "../../ops/model_memory.ts";
import { readFloatsInto } from "../../tensor/read_tensor.ts";
import type { SafetensorsFile, TensorEntry } from "../../tensor/safetensors.ts";
import type { Adapter, AdapterParams, ParameterSize } from "../adapter.ts";
import type { AdapterSpec } from "../registry.ts";
import type { SavedBase } from "./base_model.ts";
import { isTable, type SavedTables, tableNames } from "./vocabulary_tables.ts";

/** Rows that are joined from their planes, or divided into them, at a time. */
export const ROWS_PER_PIECE = 1024;
/** Tensors that an error lists; a model of another size has hundreds that do not fit. */
const LISTED = 40;

/** A saved adapter that was opened and found whole; its tensors are still in the file. */
export interface SavedAdapter {
  readonly folder: string;
  readonly spec: AdapterSpec;
  readonly base: SavedBase;
  /** That its model had, where that is no language model's: it is to be opened with it. */
  readonly head: HeadConfig | null;
  /** By the names of the parameters that they hold. */
  readonly tensors: SafetensorsFile;
  /** What may be tables of the vocabulary that its model had: see `VocabularyChoice`. */
  readonly vocabulary: SavedTables;
  /** Folder of the tokenizer that it was trained with, where that is saved with it. */
  readonly tokenizer: string | null;
  readonly tensorsHash: string;
}

/** The tensors of a file by other names, null for those left out. @throws {ValidationError} When two get the same */
export function byParameter(
  file: SafetensorsFile,
  folder: string,
  parameterName: (name: string) => string | null,
): SafetensorsFile {
  const problems: string[] = [];
  const tensors = new Map<string, TensorEntry>();
  for (const [given, entry] of file.tensors) {
    const name = parameterName(given);
    if (name === null) continue;
    const other = tensors.get(name);
    if (other) problems.push(`tensors "${other.name}" and "${entry.name}" are the same one twice`);
    tensors.set(name, entry);
  }
  throwIfAny(`Adapter ${folder}`, problems);
  return { ...file, tensors };
}

/** What is wrong where an adapter has a vocabulary that its model was not opened with: a sentence, or none. */
export function vocabularyProblem(
  { vocabulary, folder }: SavedAdapter,
  { config }: Pick<Model, "config">,
): string[] {
  const rows = chosenRows(config, vocabulary);
  if (rows === config.vocabSize) return [];
  return [
    `${folder} was trained with a vocabulary of ${rows} tokens, the model has ${config.vocabSize}: open the model with it ` +
    "(`adapter` of loadModel)",
  ];
}

/**
 * Checks that a saved adapter has the tensors of an adapter on a model, before memory is taken for them.
 *
 * @throws {ValidationError} When tensors are missing, unknown or of another shape: all of them
 */
export function checkAdapterTensors(saved: SavedAdapter, adapter: Adapter, model: Model): void {
  const { parameters } = adapter.sizes(model, 0);
  throwIfAny(
    `Adapter ${saved.folder}`,
    tensorProblems(ofWhole(saved, adapter, model, parameters), parameters),
  );
}

/**
 * The values of a saved adapter into parameters made for it.
 *
 * @throws {ValidationError} When tensors are missing, unknown or of another shape: all of them @mutates params
 */
export function readAdapterInto(model: Model, saved: SavedAdapter, params: AdapterParams): void {
  const { kernels: k } = model;
  const sizes = params.parameters.map((parameter) => ({
    name: parameter.name,
    shape: parameterShape(parameter),
  }));
  const tensors = ofWhole(saved, params.adapter, model, sizes);
  throwIfAny(`Adapter ${saved.folder}`, tensorProblems(tensors, sizes));
  for (const parameter of params.parameters) readParameter(k, tensors, parameter);
}

/** What stands before the names of modules, and the first part of these, which those of a bare model lack. */
const PREFIX = /^(base_model\.model\.)[^.]+\./;

/**
 * The tensors of a saved adapter by the names of the parameters they hold: where PEFT made it for the bare model within a
 * causal language model, and without what a tied head has of its embedding, or the model of its vocabulary.
 *
 * @throws {ValidationError} When two tensors hold the same parameter
 */
function ofWhole(
  { spec, tensors: file, folder }: SavedAdapter,
  { copies }: Pick<Adapter, "copies">,
  model: Pick<Model, "config" | "vocabulary">,
  parameters: readonly { readonly name: string }[],
): SafetensorsFile {
  const isPeft = spec.source?.by === "peft";
  const bare = new Map(isPeft ? parameters.map(({ name }) => [name.replace(PREFIX, "$1"), name]) : []);
  const known = new Set([...parameters.map(({ name }) => name), ...bare.keys()]);
  const twice = new Set(isPeft ? [...copies?.values() ?? []].flat() : []);
  const tables = model.vocabulary ? tableNames(model.vocabulary, model.config) : null;
  const isBeside = (name: string) =>
    twice.has(name) || (tables !== null && !known.has(name) && isTable(name, tables));
  return byParameter(file, folder, (name) => isBeside(name) ? null : bare.get(name) ?? name);
}

function tensorProblems(
  file: SafetensorsFile,
  sizes: readonly Pick<ParameterSize, "name" | "shape">[],
): string[] {
  const problems: string[] = [];
  const wanted = new Map(sizes.map(({ name, shape }) => [name, shape]));
  for (const [name, shape] of wanted) {
    const entry = file.tensors.get(name);
    if (!entry) problems.push(`tensor "${name}" ${formatShape(shape)} is missing`);
    else if (formatShape(entry.shape) !== formatShape(shape)) {
      problems.push(
        `tensor "${entry.name}" has shape ${formatShape(entry.shape)}, expected ${formatShape(shape)}`,
      );
    } else if (!READABLE.has(entry.dtype)) {
      problems.push(`tensor "${entry.name}" is ${entry.dtype}, expected ${[...READABLE].join(", ")}`);
    }
  }
  for (const [name, entry] of file.tensors) {
    if (!wanted.has(name)) {
      problems.push(`tensor "${entry.name}" is unknown: the adapter has no place for it`);
    }
  }
  const more = problems.length - LISTED;
  return more > 1 ? [...problems.slice(0, LISTED), `and ${more} more of the kind`] : problems;
}

/** Types of tensors that are widened to floats. */
const READABLE: ReadonlySet<string> = new Set(["f32", "bf16", "f16", "f64"]);

/** @mutates parameter */
function readParameter(k: Kernels, file: SafetensorsFile, parameter: Parameter): void {
  const entry = file.tensors.get(parameter.name);
  if (!entry) throw new RangeError(`Tensor "${parameter.name}" is not in ${file.path}`);
  if (parameter.kind === "dense") {
    return writeFloats(k, parameter.data, (floats) => readFloatsInto(floats, entry));
  }
  const { matrix } = parameter;
  // A piece of the tensor is a tensor of fewer rows, further on in the file.
  const rowBytes = entry.bytes / Math.max(1, matrix.rows);
  for (let row = 0; row < matrix.rows; row += ROWS_PER_PIECE) {
    const rows = Math.min(ROWS_PER_PIECE, matrix.rows - row);
    const piece = k.floats(rows * matrix.cols);
    const bytes = rows * rowBytes;
    const offsetBytes = entry.offsetBytes + row * rowBytes;
    readFloatsInto(piece, { ...entry, shape: [rows, matrix.cols], offsetBytes, bytes });
    k.rowMatrixWrite(matrix, piece, row);
  }
}
