// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of one text or two with a label: JSONL files with the columns that published sets have (GLUE's among them), or folders
 * with a folder of text files for each class.
 */
import { basename } from "node:path";
import { UserError } from "../core/errors.ts";
import { quotedValue } from "../core/quoted.ts";
import { filesOfClasses } from "../data/class_folders.ts";
import { fileProblem, readLines } from "../data/lines.ts";
import { RowError } from "../data/row_error.ts";
import { type BadRow, catchBadRow, parseFields, type RowPlace } from "../data/rows.ts";
import { isFolder, readText } from "../files/read.ts";

/** A text, or two that belong together, and what they are. */
export interface LabelledRow {
  readonly text: string;
  readonly second: string | null;
  /** Name or number of a class, or a value; null where the row has none. */
  readonly label: string | number | null;
}

/** A row with its place, or why there is none. */
export type LabelledResult =
  | { readonly ok: true; readonly row: LabelledRow; readonly place: RowPlace }
  | { readonly ok: false; readonly bad: BadRow };

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

const LABELS = ["label", "labels"] as const;

/** The accepted shapes, as messages name them. */
export const LABELLED_SHAPES =
  "{text, label}, {sentence, label} or two texts and a label: {sentence1, sentence2, label}, {premise, hypothesis, label}, " +
  "{question, sentence, label}, {question1, question2, label}";

/**
 * Streams the rows of files and folders in the order given; classes and texts of a folder by name. Blank lines are passed over.
 *
 * @throws {UserError} Before any row of it, when a path is missing, or is a folder without classes
 */
export async function* readLabelledRows(paths: readonly string[]): AsyncGenerator<LabelledResult> {
  if (paths.length === 0) throw new UserError("Cannot read the data: no data file was given");
  for (const path of paths) yield* await isFolder(path) ? rowsOfFolder(path) : rowsOfFile(path);
}

async function* rowsOfFile(file: string): AsyncGenerator<LabelledResult> {
  const problem = await fileProblem(file);
  if (problem !== null) throw new UserError(`Cannot read the data: "${file}" ${problem}`);
  for await (const { number, text } of readLines(file)) {
    yield await catchBadRow<LabelledResult>({ file, line: number }, (place) => ({
      ok: true,
      row: labelledRow(parseFields(text, LABELLED_SHAPES)),
      place,
    }));
  }
}

async function* rowsOfFolder(folder: string): AsyncGenerator<LabelledResult> {
  let line = 0;
  for await (const { path, label } of filesOfClasses(folder, "its texts, a file each")) {
    const place = { file: folder, line: ++line };
    yield await catchBadRow<LabelledResult>(place, async () => ({
      ok: true,
      row: { text: filled(basename(path), await readText(path)), second: null, label },
      place,
    }));
  }
}

/**
 * The texts and the label of a row; fields that say neither (`idx`) are passed over.
 *
 * @throws {RowError} Names the field, its value and what is expected
 */
export function labelledRow(fields: Readonly<Record<string, unknown>>): LabelledRow {
  const label = labelOf(fields);
  const pair = PAIRS.find((names) => names.every((name) => name in fields));
  if (pair) {
    const [first, second] = pair;
    return { text: filled(first, fields[first]), second: filled(second, fields[second]), label };
  }
  const single = TEXTS.find((name) => name in fields);
  if (single) return { text: filled(single, fields[single]), second: null, label };
  const keys = Object.keys(fields).map((key) => `"${key}"`).join(", ");
  throw new RowError("unknown shape", `the row has ${keys || "no fields"}, expected ${LABELLED_SHAPES}`);
}

function labelOf(fields: Readonly<Record<string, unknown>>): LabelledRow["label"] {
  const name = LABELS.find((field) => field in fields);
  const value = name === undefined ? null : fields[name];
  if (typeof value === "boolean") return Number(value);
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  throw new RowError("wrong type", `"${name}" is ${quotedValue(value)}, expected a name or a number`);
}

function filled(name: string, value: unknown): string {
  if (typeof value !== "string") {
    throw new RowError("wrong type", `"${name}" is ${quotedValue(value)}, expected a string`);
  }
  if (value.trim() === "") throw new RowError("empty", `"${name}" is empty`);
  return value;
}
