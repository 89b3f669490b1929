// SPDX-License-Identifier: Apache-2.0
/** From rows to what is made of them: some at a time, taken in their order, with every row accounted for. */
import { statIfThere } from "../files/read.ts";
import { type BadRowPolicy, checkRowsRead } from "./bad_rows.ts";
import type { ReadReport } from "./dataset.ts";
import { type BadRow, catchBadRow, readRows, type RowPlace, type RowResult } from "./rows.ts";

/** How far reading is. */
export interface LoadProgress {
  readonly rows: number;
  /** Bytes read of the files, and what they have together. */
  readonly bytes: number;
  readonly totalBytes: number;
}

/** What is done with each row. */
export interface RowSteps<R, T> {
  /** From a row to a value; may throw a `RowError`. */
  readonly make: (row: R) => T | Promise<T>;
  /** Called in the order of the rows. */
  readonly take: (value: Awaited<T>, place: RowPlace) => void;
}

/** Rows that are made at the same time: enough to keep the tokenizer's threads busy. */
const ROWS_AT_ONCE = 64;

/** Characters of these rows, as each takes some hundred bytes while it is tokenised. A longer row is made alone. */
const CHARACTERS_AT_ONCE = 1_000_000;

/**
 * Goes through the rows of JSONL files.
 *
 * @param steps `read` gives a line, null where it is not UTF-8, as a row; may throw a `RowError`
 * @throws {BadRowsError} With policy "stop", when there are bad rows; with "skip", when all are
 * @throws {UserError} When a file is missing, or there is no row
 */
export async function mapRows<R, T>(
  files: readonly string[],
  policy: BadRowPolicy,
  { read, ...steps }: RowSteps<R, T> & { readonly read: (text: string | null) => R },
  onProgress?: (progress: LoadProgress) => void,
): Promise<ReadReport> {
  const totalBytes = onProgress === undefined ? 0 : await sizeOf(files);
  let bytes = 0;
  const results = readRows(files, read, (count) => bytes += count);
  return await mapResults(
    files,
    policy,
    { ...steps, results },
    (rows) => onProgress?.({ rows, bytes, totalBytes }),
  );
}

/**
 * Goes through rows that are read already. @throws As {@linkcode mapRows}
 *
 * @param onRows Called with how many rows are done
 */
export async function mapResults<R, T>(
  paths: readonly string[],
  policy: BadRowPolicy,
  { results, make, take }: RowSteps<R, T> & { readonly results: AsyncIterable<RowResult<R>> },
  onRows: (rows: number) => void = () => {},
): Promise<ReadReport> {
  const badRows: BadRow[] = [];
  let rowsRead = 0;
  const takeAll = (all: readonly Awaited<ReturnType<typeof makeRow<R, T>>>[]): void => {
    rowsRead += all.length;
    for (const made of all) {
      if (made.ok) take(made.value, made.place);
      else badRows.push(made.bad);
    }
    onRows(rowsRead);
  };
  // The tokenizer's threads work on some rows while the ones before are put together here.
  let before: ReturnType<typeof makeRow<R, T>>[] = [];
  for await (const some of inChunks(results)) {
    const begun = some.map((row) => makeRow(row, make));
    for (const row of begun) row.catch(() => {}); // whoever waits for them is told
    takeAll(await Promise.all(before));
    before = begun;
  }
  takeAll(await Promise.all(before));
  const report = { rowsRead, rowsUsed: rowsRead - badRows.length, badRows };
  checkRowsRead(paths, policy, report);
  return report;
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
