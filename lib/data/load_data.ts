// SPDX-License-Identifier: Apache-2.0
/** Data files into a data set, with every row accounted for. */
import { assertInteger } from "../core/shape.ts";
import type { BadRowPolicy } from "./bad_rows.ts";
import { cachedDataset } from "./dataset_cache.ts";
import { DATA_OPTIONS } from "./data_options.ts";
import { type Dataset, DatasetBuilder, type ReadReport } from "./dataset.ts";
import { buildExamples, type ExampleOptions, type RowExamples, settleTemplate } from "./examples.ts";
import { type LoadProgress, mapRows } from "./map_rows.ts";
import type { Row } from "./row_shapes.ts";
import { specialTokenPattern, specialTokenWarnings, WarningCounter } from "./row_warnings.ts";
import { parseRow, type RowPlace } from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** How data files become a data set. */
export interface LoadDataOptions extends Omit<ExampleOptions, "seqLen"> {
  /** Tokens of a row at most: longer ones are cut. Default 256. */
  readonly seqLen?: number;
  /** Tokens of what is written of a row of two texts at most. Default: seqLen. */
  readonly targetLen?: number;
  /** "stop" (default) reads all files and then throws one error that lists the first bad rows; "skip" leaves them out. */
  readonly badRows?: BadRowPolicy;
  /** Whether tokenised data of more than a mebibyte is kept on disk for the next time. Default true. */
  readonly cache?: boolean;
  /** Called with how far reading is, some rows at a time. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Called with what is worth knowing and no error: tokenised data that could not be kept. */
  readonly onNote?: (note: string) => void;
}

/**
 * Reads, validates and tokenises JSONL files, or takes what an earlier call with the same files, tokenizer and options left
 * on disk.
 *
 * @param paths One file or several, read in this order
 * @param source Whose tokens are meant: those of a tokenizer, or of a model that has one
 * @throws {BadRowsError} With policy "stop", when there are bad rows
 * @throws {UserError} When a file is missing, or there is no row
 */
export async function loadData(
  paths: string | readonly string[],
  source: Tokenizer | { readonly tokenizer: Tokenizer },
  options: LoadDataOptions = {},
): Promise<Dataset> {
  const { cache = true, onProgress, onNote, seqLen = DATA_OPTIONS.seqLen.default, ...others } = options;
  assertInteger("seqLen", seqLen, 2);
  const deciding = { ...others, seqLen };
  const tokenizer = "tokenizer" in source ? source.tokenizer : source;
  const files = typeof paths === "string" ? [paths] : [...paths];
  const make = () => tokeniseFiles(files, tokenizer, deciding, onProgress);
  if (!cache) return await make();
  const noted = onNote === undefined ? {} : { onNote };
  return await cachedDataset({ files, tokenizer, options: deciding, ...noted }, make);
}

async function tokeniseFiles(
  files: readonly string[],
  tokenizer: Tokenizer,
  options: Omit<LoadDataOptions, "cache" | "onProgress" | "onNote"> & ExampleOptions,
  onProgress: LoadDataOptions["onProgress"],
): Promise<Dataset> {
  const builder = new DatasetBuilder(files);
  const warnings = new WarningCounter();
  const special = specialTokenPattern(tokenizer);
  const settled = settleTemplate(tokenizer, options);
  const build = async (row: Row): Promise<RowExamples> => {
    const made = await buildExamples(row, settled.tokenizer, settled.options);
    return { ...made, warnings: [...made.warnings, ...specialTokenWarnings(row, special)] };
  };
  const take = (made: RowExamples, place: RowPlace): void => {
    for (const example of made.examples) builder.add(example, place);
    warnings.add(place, made.warnings);
  };
  const steps = { read: parseRow, make: build, take };
  const report = await mapRows(files, options.badRows ?? "stop", steps, onProgress);
  return builder.finish(options.seqLen, { ...report, warnings: warnings.finish() });
}

/** A value made of a row, with the row's place. */
export interface Placed<T> {
  readonly value: T;
  readonly place: RowPlace;
}

/**
 * Reads JSONL files into values of the caller's making, under the same policy as {@linkcode loadData}.
 *
 * @param make From a line, null where it is not UTF-8, to a value; may throw a `RowError`
 */
export async function loadRows<T>(
  paths: string | readonly string[],
  policy: BadRowPolicy,
  make: (text: string | null) => T | Promise<T>,
): Promise<{ items: Placed<T>[]; report: ReadReport }> {
  const items: Placed<T>[] = [];
  const files = typeof paths === "string" ? [paths] : paths;
  const report = await mapRows(files, policy, {
    read: (text) => text,
    make,
    take: (value, place) => void items.push({ value, place }),
  });
  return { items, report };
}
