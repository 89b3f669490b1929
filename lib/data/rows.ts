// SPDX-License-Identifier: Apache-2.0
/** Rows of JSONL files: read as a stream, and validated one by one. */
import { UserError } from "../core/errors.ts";
import { parseJsonText } from "../core/json_text.ts";
import { parsePythonJson } from "../jinja/json_loads.ts";
import { fileProblem, readLines } from "./lines.ts";
import { type BadRowCategory, RowError } from "./row_error.ts";
import { LongTextError } from "./tokenizer_library.ts";
import type { Fields } from "./row_fields.ts";
import { notAnObject, type Row, shapeRow } from "./row_shapes.ts";

/** Where a row stands. */
export interface RowPlace {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** Of a row that is a file of its own, in a folder: then `file` is the folder, and `line` the row's number. */
  readonly path?: string;
}

/** A row that cannot be used. */
export interface BadRow extends RowPlace {
  readonly category: BadRowCategory;
  /** One sentence without file and line. */
  readonly reason: string;
}

/** A row with its place and how many characters it has, or why there is none. */
export type RowResult<R = Row> =
  | { readonly ok: true; readonly row: R; readonly place: RowPlace; readonly characters: number }
  | { readonly ok: false; readonly bad: BadRow };

/**
 * Streams the rows of several files in the order given. Blank lines are passed over.
 *
 * @param read A line, null where it is not UTF-8, as a row; may throw a `RowError`
 * @param onBytes Called with how many bytes each read gave
 * @throws {UserError} Before any row, when a path is missing or not a file; the message names all of them
 */
export async function* readRows<R>(
  paths: readonly string[],
  read: (text: string | null) => R,
  onBytes?: (bytes: number) => void,
): AsyncGenerator<RowResult<R>> {
  await checkFiles(paths);
  for (const file of paths) {
    for await (const { number, text } of readLines(file, onBytes)) {
      yield await catchBadRow<RowResult<R>>(
        { file, line: number },
        (place) => ({ ok: true, row: read(text), place, characters: text?.length ?? 0 }),
      );
    }
  }
}

/** Runs one look at a row; a {@linkcode RowError} or a text that is too long becomes a bad row at that place. */
export async function catchBadRow<T>(
  place: RowPlace,
  look: (place: RowPlace) => T | Promise<T>,
): Promise<T | { readonly ok: false; readonly bad: BadRow }> {
  try {
    return await look(place);
  } catch (error) {
    if (error instanceof LongTextError) {
      return { ok: false, bad: { ...place, category: "over-long", reason: error.message } };
    }
    if (!(error instanceof RowError)) throw error;
    return { ok: false, bad: { ...place, category: error.category, reason: error.message } };
  }
}

/** `train.jsonl:12`, or `reviews/good/0001.txt`. */
export function formatPlace({ file, line, path }: RowPlace): string {
  return path ?? `${file}:${line}`;
}

/**
 * Validates one line.
 *
 * @param text The line; null stands for bytes that are not UTF-8
 * @throws {RowError} When it is no row
 */
export function parseRow(text: string | null): Row {
  const row = shapeRow(parseFields(text));
  return carriesValues(row) ? shapeRow(exactFields(text as string)) : row;
}

/**
 * The fields of one line, whatever they are.
 *
 * @param text The line; null stands for bytes that are not UTF-8
 * @param shapes What is expected, for messages
 * @throws {RowError} When it is no JSON object
 */
export function parseFields(text: string | null, shapes?: string): Fields {
  if (text === null) throw new RowError("not JSON", "the line is not valid UTF-8");
  let value: unknown;
  try {
    value = parseJsonText(text);
  } catch (error) {
    throw new RowError("not JSON", `the line ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw notAnObject(value, shapes);
  return value as Fields;
}

/** Whether a row hands anything but text to a template: there 1.0 is not 1, and keys keep their order. */
function carriesValues({ context = {}, ...row }: Row): boolean {
  const { system: _, ...others } = context;
  if (Object.keys(others).length > 0) return true;
  return row.kind === "messages" &&
    row.messages.some((message) =>
      Object.entries(message).some(([name, value]) =>
        name !== "content" && name !== "weight" && value !== null && typeof value !== "string"
      )
    );
}

/** The fields of a line that is known to be a JSON object, as Python reads them. */
function exactFields(text: string): Fields {
  const value = parsePythonJson(text);
  return value instanceof Map ? Object.fromEntries(value) : value as Fields;
}

async function checkFiles(paths: readonly string[]): Promise<void> {
  const problems: string[] = [];
  if (paths.length === 0) problems.push("no data file was given");
  for (const path of paths) {
    const problem = await fileProblem(path);
    if (problem === null) continue;
    problems.push(`"${path}" ${problem}${problem === "is a folder" ? "; name its .jsonl files" : ""}`);
  }
  if (problems.length > 0) throw new UserError(`Cannot read the data: ${problems.join("; ")}`);
}
