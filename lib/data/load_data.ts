// SPDX-License-Identifier: Apache-2.0
/** Data files into a data set, with every row accounted for. */
import { UserError } from "../core/errors.ts";
import { assertInteger } from "../core/shape.ts";
import { statIfThere } from "../files/read.ts";
import { cachedDataset } from "./dataset_cache.ts";
import { DATA_OPTIONS } from "./data_options.ts";
import { type Dataset, DatasetBuilder, type ReadReport } from "./dataset.ts";
import { buildExamples, type ExampleOptions, type RowExamples, settleTemplate } from "./examples.ts";
import type { BadRowCategory } from "./row_error.ts";
import type { Row } from "./row_shapes.ts";
import { specialTokenPattern, specialTokenWarnings, WarningCounter } from "./row_warnings.ts";
import {
  type BadRow,
  catchBadRow,
  formatPlace,
  parseRow,
  readRows,
  type RowPlace,
  type RowResult,
} from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What to do with bad rows. */
export type BadRowPolicy = "stop" | "skip";

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

/** How far reading is. */
export interface LoadProgress {
  readonly rows: number;
  /** Bytes read of the files, and what they have together. */
  readonly bytes: number;
  readonly totalBytes: number;
}

/** Bad rows listed in the error of policy "stop". */
const LISTED_BAD_ROWS = 20;

/** Rows that cannot be used, under the policy "stop", or no row that can, under any. */
export class BadRowsError extends UserError {
  override readonly name = "BadRowsError";
  readonly badRows: readonly BadRow[];

  constructor(badRows: readonly BadRow[], rowsRead: number) {
    const remedy = badRows.length < rowsRead ? "; mend them, or leave them out with --bad-rows skip" : "";
    const listed = badRows.slice(0, LISTED_BAD_ROWS).map((bad) => `${formatPlace(bad)}: ${bad.reason}`);
    const more = badRows.length - listed.length;
    super(`${badRows.length} of ${rowsRead} rows cannot be used${remedy}:`, {
      lines: [...listed, ...(more > 0 ? [`… and ${more} more`] : [])],
    });
    this.badRows = badRows;
  }
}

/** Bad rows by category, largest first, for a summary. */
export function countBadRows(badRows: readonly BadRow[]): [BadRowCategory, number][] {
  const counts = new Map<BadRowCategory, number>();
  for (const { category } of badRows) counts.set(category, (counts.get(category) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
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
  const report = await mapRows(files, options.badRows ?? "stop", parseRow, build, take, onProgress);
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
  const take = (value: T, place: RowPlace) => items.push({ value, place });
  const report = await mapRows(files, policy, (text) => text, make, take);
  return { items, report };
}

/** Rows that are made at the same time: enough to keep the tokenizer's threads busy. */
const ROWS_AT_ONCE = 64;

/** Characters of these rows, as each takes some hundred bytes while it is tokenised. A longer row is made alone. */
const CHARACTERS_AT_ONCE = 1_000_000;

/**
 * Goes through the rows of files, some of them at a time, each by `read`, `make` and, in their order, `take`.
 *
 * @param read A line as a row; may throw a `RowError`     @param make From a row to a value; may throw a `RowError`
 * @throws {BadRowsError} With policy "stop", when there are bad rows
 * @throws {UserError} When a file is missing, or there is no row
 */
export async function mapRows<R, T>(
  files: readonly string[],
  policy: BadRowPolicy,
  read: (text: string | null) => R,
  make: (row: R) => T | Promise<T>,
  take: (value: Awaited<T>, place: RowPlace) => void,
  onProgress?: (progress: LoadProgress) => void,
): Promise<ReadReport> {
  const badRows: BadRow[] = [];
  const totalBytes = onProgress === undefined ? 0 : await sizeOf(files);
  let [rowsRead, bytes] = [0, 0];
  const takeAll = (all: readonly Awaited<ReturnType<typeof makeRow<R, T>>>[]): void => {
    rowsRead += all.length;
    for (const made of all) {
      if (made.ok) take(made.value, made.place);
      else badRows.push(made.bad);
    }
    onProgress?.({ rows: rowsRead, bytes, totalBytes });
  };
  // The tokenizer's threads work on some rows while the ones before are put together here.
  let before: ReturnType<typeof makeRow<R, T>>[] = [];
  for await (const some of inChunks(readRows(files, read, (count) => bytes += count))) {
    const begun = some.map((row) => makeRow(row, make));
    for (const row of begun) row.catch(() => {}); // whoever waits for them is told
    takeAll(await Promise.all(before));
    before = begun;
  }
  takeAll(await Promise.all(before));
  if (badRows.length > 0 && (policy === "stop" || badRows.length === rowsRead)) {
    throw new BadRowsError(badRows, rowsRead);
  }
  if (rowsRead === 0) {
    throw new UserError(`There are no rows in ${files.map((file) => `"${file}"`).join(", ")}`);
  }
  return { rowsRead, rowsUsed: rowsRead - badRows.length, badRows };
}

/** Bytes of the files that are there. */
async function sizeOf(files: readonly string[]): Promise<number> {
  const sizes = await Promise.all(files.map(async (file) => (await statIfThere(file))?.size ?? 0));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function makeRow<R, T>(read: RowResult<R>, make: (row: R) => T | Promise<T>) {
  if (!read.ok) return read;
  return await catchBadRow(
    read.place,
    async (place) => ({ ok: true as const, value: await make(read.row), place }),
  );
}

async function* inChunks<R>(rows: AsyncIterable<RowResult<R>>): AsyncGenerator<RowResult<R>[]> {
  let chunk: RowResult<R>[] = [];
  let characters = 0;
  for await (const row of rows) {
    chunk.push(row);
    characters += row.ok ? row.characters : 0;
    if (chunk.length < ROWS_AT_ONCE && characters < CHARACTERS_AT_ONCE) continue;
    yield chunk;
    [chunk, characters] = [[], 0];
  }
  if (chunk.length > 0) yield chunk;
}
