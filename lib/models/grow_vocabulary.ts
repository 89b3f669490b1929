// SPDX-License-Identifier: Apache-2.0
/**
 * A model whose vocabulary has more tokens than its checkpoint, as transformers' `resize_token_embeddings` makes it: the new
 * rows of the embedding, of a head that is not tied to it and of its bias are the mean of the old ones; a bias that nobody trains
 * is 0 there. (transformers draws them around that mean, with a billionth of the rows' covariance: here the same folder gives the same model.)
 */
import { floatToBf16, floatToF16 } from "../core/half.ts";
import { formatShape } from "../core/shape.ts";
import { hostArray } from "../native/host_memory.ts";
import type { CheckpointIndex } from "../tensor/checkpoint_index.ts";
import { readBytes, readFloatsInto } from "../tensor/read_tensor.ts";
import type { SafetensorsFile, TensorEntry } from "../tensor/safetensors.ts";
import { numel } from "../tensor/tensor.ts";
import type { ModelConfig, ModelVocabulary } from "./model.ts";
import { allTensors, constantTensors } from "./part_tensors.ts";
import { basePrefix, namedParts, storedShape } from "./tensor_names.ts";
import { vocabularyTables } from "./vocabulary.ts";

/** What vocabulary is wanted. */
export interface VocabularyChoice {
  /** Rows that there must be at least. Default: those of the checkpoint. */
  readonly rows?: number;
  /** Of what the number of rows is a multiple. Default 1. */
  readonly multipleOf?: number;
  /** Tensors that an adapter was saved with, by the names of the whole model or the bare one: tables are taken of it. */
  readonly tables?: ReadonlyMap<string, TensorEntry>;
  /** Rows of tensors that it has trained whole. */
  readonly trainedRows?: ReadonlyMap<string, number>;
}

/** A configuration and a checkpoint with that vocabulary. */
export interface WithVocabulary {
  readonly config: ModelConfig;
  readonly checkpoint: CheckpointIndex;
  /** Null where it is the checkpoint's own. */
  readonly grown: Pick<ModelVocabulary, "storedRows" | "tables"> | null;
}

/** How many rows the tables are to have: as many as an adapter brings, else as many as are wanted. */
export function chosenRows(config: ModelConfig, choice: VocabularyChoice): number {
  const { rows = 0, multipleOf = 1 } = choice;
  return broughtRows(config, choice) ?? Math.ceil(Math.max(config.vocabSize, rows) / multipleOf) * multipleOf;
}

/** Rows of the tables that an adapter brings; null where it brings none, or has trained those of the checkpoint's size. */
function broughtRows(config: ModelConfig, { tables, trainedRows }: VocabularyChoice): number | null {
  if (tables === undefined && trainedRows === undefined) return null;
  const known = vocabularyTables(config);
  for (const name of known === null ? [] : [known.embedding, known.head ?? []].flat()) {
    const table = tables && tableOf(tables, name, config);
    if (table !== undefined && table.shape.length === 2) return table.shape[0] as number;
    const rows = trainedRows && tableOf(trainedRows, name, config);
    if (rows !== undefined && rows !== config.vocabSize) return rows;
  }
  return null;
}

/** The configuration with another number of tokens. */
export function withVocabSize(config: ModelConfig, vocabSize: number): ModelConfig {
  return vocabSize === config.vocabSize ? config : { ...config, vocabSize };
}

/**
 * Grows the tables of a checkpoint that fits its configuration, in memory, each in its own type.
 *
 * @mutates problems: tables that do not fit
 */
export function withVocabulary(
  config: ModelConfig,
  checkpoint: CheckpointIndex,
  choice: VocabularyChoice,
  problems: string[],
): WithVocabulary {
  const brought = broughtRows(config, choice);
  if (brought !== null && (choice.rows ?? 0) > brought) {
    problems.push(
      `The adapter brings a vocabulary of ${brought} tokens, of ${choice.rows} that are wanted: add no others to it`,
    );
  }
  const larger = withVocabSize(config, chosenRows(config, choice));
  // As almost always: names and shapes of all tensors, below, take a tenth of a second where experts are many.
  if (brought === null && larger === config) return { config, checkpoint, grown: null };
  const wanted = new Map(allTensors(namedParts(larger)).map((tensor) => [tensor.name, storedShape(tensor)]));
  const tables = new Map<string, TensorEntry>();
  for (const name of vocabularyTensors(config)) {
    const entry = checkpoint.tensors.get(name);
    const shape = wanted.get(name);
    if (entry === undefined || shape === undefined) continue; // a head that starts fresh
    const given = brought === null || !choice.tables ? undefined : tableOf(choice.tables, name, config);
    if (given !== undefined && formatShape(given.shape) !== formatShape(shape)) {
      problems.push(
        `Tensor "${given.name}" has shape ${formatShape(given.shape)}, expected ${formatShape(shape)}`,
      );
    } else if (given !== undefined) tables.set(name, { ...given, name });
    else if (numel(shape) !== numel(entry.shape)) tables.set(name, grownTensor(entry, shape));
  }
  if (tables.size === 0) return { config, checkpoint, grown: null };
  const all = new Map([...tables, ...grownConstants(larger, checkpoint)]);
  const placed = (file: SafetensorsFile): SafetensorsFile => ({
    ...file,
    tensors: new Map([...file.tensors].map(([name, entry]) => [name, all.get(name) ?? entry])),
  });
  return {
    config: larger,
    checkpoint: {
      files: checkpoint.files.map(placed),
      tensors: new Map([...checkpoint.tensors].map(([name, entry]) => [name, all.get(name) ?? entry])),
    },
    grown: { storedRows: config.vocabSize, tables },
  };
}

/** Names of the tensors that have a row, or an element, for each token. */
function vocabularyTensors(config: ModelConfig): string[] {
  const shapes = (own: ModelConfig) =>
    new Map(allTensors(namedParts(own)).map((tensor) => [tensor.name, formatShape(storedShape(tensor))]));
  const [before, after] = [shapes(config), shapes({ ...config, vocabSize: config.vocabSize + 1 })];
  return [...before].filter(([name, shape]) => after.get(name) !== shape).map(([name]) => name);
}

/** What nobody trains, with zeros behind its own elements. */
function grownConstants(
  larger: ModelConfig,
  { tensors }: CheckpointIndex,
): readonly (readonly [string, TensorEntry])[] {
  return constantTensors(namedParts(larger)).flatMap((tensor) => {
    const entry = tensors.get(tensor.name);
    return entry === undefined ? [] : [[tensor.name, longerTensor(entry, storedShape(tensor))] as const];
  });
}

/** A given table; of tied tables the head's stands for both where the embedding's is not given. */
function tableOf<T>(tables: ReadonlyMap<string, T>, name: string, config: ModelConfig): T | undefined {
  const prefix = basePrefix(config);
  const bare = name.startsWith(prefix) ? name.slice(prefix.length) : name;
  const known = vocabularyTables(config);
  const twin = known?.tied && name === known.embedding ? known.head : null;
  return tables.get(name) ?? tables.get(bare) ?? (twin === null ? undefined : tables.get(twin));
}

/** The tensor with rows of the mean behind its own. */
function grownTensor(entry: TensorEntry, shape: readonly number[]): TensorEntry {
  const longer = longerTensor(entry, shape);
  const row = encoded(entry.dtype, meanRow(entry));
  for (let at = entry.bytes; at < longer.bytes; at += row.length) longer.memory.set(row, at);
  return longer;
}

/** The tensor with zeros behind its own elements. */
function longerTensor(entry: TensorEntry, shape: readonly number[]) {
  const width = entry.bytes / Math.max(1, numel(entry.shape));
  const bytes = numel(shape) * width;
  const memory = hostArray<Uint8Array<ArrayBuffer>>(Uint8Array, bytes, `the larger table "${entry.name}"`);
  memory.set(readBytes(entry));
  return { ...entry, shape, bytes, memory };
}

/** (D) the mean of all rows, or (1) of all elements of a vector; in f64. */
function meanRow(entry: TensorEntry): Float64Array {
  const [rows = 0, cols = 1] = entry.shape;
  const values = hostArray<Float64Array<ArrayBuffer>>(Float64Array, rows * cols, `the table "${entry.name}"`);
  readFloatsInto(values, entry);
  const sums = new Float64Array(cols);
  for (let i = 0; i < values.length; i++) sums[i % cols] = (sums[i % cols] as number) + (values[i] as number);
  return sums.map((sum) => sum / Math.max(1, rows));
}

function encoded(dtype: TensorEntry["dtype"], row: Float64Array): Uint8Array {
  const bits = dtype === "f64"
    ? row
    : dtype === "f32"
    ? Float32Array.from(row)
    : Uint16Array.from(row, dtype === "bf16" ? (x) => floatToBf16(x) : (x) => floatToF16(x));
  return new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength);
}
