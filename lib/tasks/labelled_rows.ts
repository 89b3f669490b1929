// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of one text or two with a label: JSONL, CSV or TSV files with the columns that published sets have (GLUE's among them),
 * or folders with a folder of text files for each class.
 */
import { basename } from "node:path";
import { UserError } from "../core/errors.ts";
import { quotedValue } from "../core/quoted.ts";
import { filesOfClasses } from "../data/class_folders.ts";
import { fileProblem, readLines } from "../data/lines.ts";
import { RowError } from "../data/row_error.ts";
import { type Fields, filledText, unknownShape } from "../data/row_fields.ts";
import { catchBadRow, parseFields, type RowPlace, type RowResult } from "../data/rows.ts";
import { isTable, readTableRows, type TableRow } from "../data/table_rows.ts";
import { problemOf } from "../files/errors.ts";
import { isFolder, readText } from "../files/read.ts";

/** A text, or two that belong together, and what they are. */
export interface LabelledRow {
  readonly text: string;
  readonly second: string | null;
  /** Name or number of a class, or a value; null where the row has none. */
  readonly label: string | number | null;
}

/** Columns of two texts, in their order. */
const PAIRS = [
  ["sentence1", "sentence2"],
  ["premise", "hypothesis"],
  ["question1", "question2"],
  ["question", "sentence"],
  ["question", "passage"],
  ["text1", "text2"],
] as const;

/** Columns of one. */
const TEXTS = ["sentence", "text"] as const;

/** `score` is what a number to learn is called in STS-B. */
const LABELS: readonly string[] = ["label", "labels", "score"];

/** The accepted shapes, as messages name them. */
const LABELLED_SHAPES =
  "{text, label}, {sentence, label} or two texts and a label: {sentence1, sentence2, label}, {premise, hypothesis, label}, " +
  "{question, sentence, label}, {question1, question2, label}";

/**
 * Streams the rows of files and folders in the order given; classes and texts of a folder by name. Blank lines are passed over.
 *
 * @throws {UserError} Before any row of it, when a path is missing, or is a folder without classes
 */
export async function* readLabelledRows(paths: readonly string[]): AsyncGenerator<RowResult<LabelledRow>> {
  if (paths.length === 0) throw new UserError("Cannot read the data: no data file was given");
  for (const path of paths) yield* await isFolder(path) ? rowsOfFolder(path) : rowsOfFile(path);
}

async function* rowsOfFile(file: string): AsyncGenerator<RowResult<LabelledRow>> {
  const problem = await fileProblem(file);
  if (problem !== null) throw new UserError(`Cannot read the data: "${file}" ${problem}`);
  for await (const { line, fields } of isTable(file) ? labelledCells(file) : labelledLines(file)) {
    yield await catchBadRow<RowResult<LabelledRow>>(
      { file, line },
      (place) => resultOf(labelledRow(fields()), place),
    );
  }
}

async function* labelledLines(file: string): AsyncGenerator<TableRow> {
  const isText = /\.txt$/i.test(file);
  for await (const { number: line, text } of readLines(file)) {
    // Of a plain text every line is one, without a label.
    yield {
      line,
      fields: () =>
        isText && text !== null ? { text: text.replace(/\r$/, "") } : parseFields(text, LABELLED_SHAPES),
    };
  }
}

/** In a table every cell is text: a label that reads as a number is one. */
async function* labelledCells(file: string): AsyncGenerator<TableRow> {
  for await (const { line, fields } of readTableRows(file)) {
    yield {
      line,
      fields: () =>
        Object.fromEntries(
          Object.entries(fields()).map((
            [name, cell],
          ) => [name, LABELS.includes(name) ? labelCell(cell) : cell]),
        ),
    };
  }
}

function labelCell(cell: unknown): unknown {
  const text = String(cell).trim();
  if (text === "") return null;
  return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) ? Number(text) : text;
}

async function* rowsOfFolder(folder: string): AsyncGenerator<RowResult<LabelledRow>> {
  let line = 0;
  for await (const { path, label } of filesOfClasses(folder, "its texts, a file each")) {
    const place = { file: folder, line: ++line, path };
    yield await catchBadRow<RowResult<LabelledRow>>(
      place,
      async () =>
        resultOf({ text: filledText(basename(path), await readOwnText(path)), second: null, label }, place),
    );
  }
}

function resultOf(row: LabelledRow, place: RowPlace): RowResult<LabelledRow> {
  return { ok: true, row, place, characters: row.text.length + (row.second?.length ?? 0) };
}

/** The text of a file of its own. @throws {RowError} When it is no text */
async function readOwnText(path: string): Promise<string> {
  try {
    return await readText(path);
  } catch (error) {
    if (error instanceof UserError) throw new RowError("wrong type", problemOf(error));
    throw error;
  }
}

/**
 * The texts and the label of a row; fields that say neither (`idx`) are passed over.
 *
 * @throws {RowError} Names the field, its value and what is expected
 */
export function labelledRow(fields: Fields): LabelledRow {
  const label = labelOf(fields);
  const pair = PAIRS.find((names) => names.every((name) => name in fields));
  if (pair) {
    const [first, second] = pair;
    return { text: filledText(first, fields[first]), second: filledText(second, fields[second]), label };
  }
  const single = TEXTS.find((name) => name in fields);
  if (single) return { text: filledText(single, fields[single]), second: null, label };
  throw unknownShape(fields, LABELLED_SHAPES);
}

function labelOf(fields: Fields): LabelledRow["label"] {
  const name = LABELS.find((field) => field in fields);
  const value = name === undefined ? null : fields[name];
  if (typeof value === "boolean") return Number(value);
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  throw new RowError("wrong type", `"${name}" is ${quotedValue(value)}, expected a name or a number`);
}
