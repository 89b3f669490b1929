// SPDX-License-Identifier: Apache-2.0
/**
 * Rows that name pictures: JSONL files with `{image, label}`, paths from the file's own folder on, or folders with a folder of
 * pictures for each class.
 */
import { dirname, extname, isAbsolute, join } from "node:path";
import { UserError } from "../../core/errors.ts";
import { quotedValue } from "../../core/quoted.ts";
import { isFolder, statIfThere } from "../../files/read.ts";
import { filesOfClasses } from "../class_folders.ts";
import { fileProblem, readLines } from "../lines.ts";
import { RowError } from "../row_error.ts";
import { unknownShape } from "../row_fields.ts";
import { catchBadRow, parseFields, type RowResult } from "../rows.ts";

/** A picture and what it shows. */
export interface ImageRow {
  readonly path: string;
  /** Name of its class, or its number; null where the row has none. */
  readonly label: string | number | null;
}

/** Fields that name a picture: ours, and that of Hugging Face's image folders. */
const PATH_FIELDS = ["image", "file_name"];

/** The accepted shape, as messages name it. */
const SHAPE = "{image, label}";

/** What lists the pictures of a folder, as Hugging Face's image folders have it. */
const METADATA = "metadata.jsonl";

/**
 * Streams the rows of files and folders in the order given; classes and pictures of a folder by name.
 *
 * @throws {UserError} Before any row of it, when a path is missing, or is a folder without classes
 */
export async function* readImageRows(paths: readonly string[]): AsyncGenerator<RowResult<ImageRow>> {
  if (paths.length === 0) throw new UserError("Cannot read the data: no data file was given");
  for (const path of paths) {
    const listed = join(path, METADATA);
    if (!await isFolder(path)) yield* rowsOfFile(path);
    else if (await statIfThere(listed) !== null) yield* rowsOfFile(listed);
    else yield* rowsOfFolder(path);
  }
}

async function* rowsOfFile(file: string): AsyncGenerator<RowResult<ImageRow>> {
  const problem = await fileProblem(file);
  if (problem !== null) throw new UserError(`Cannot read the data: "${file}" ${problem}`);
  if (isPicture(file)) {
    throw new UserError(
      `Cannot read the data: "${file}" is a picture; name a folder with a folder for each class, or JSONL with {image, label}`,
    );
  }
  for await (const { number, text } of readLines(file)) {
    yield await catchBadRow<RowResult<ImageRow>>({ file, line: number }, (place) => ({
      ok: true,
      row: parseImageRow(text, dirname(file)),
      place,
      characters: text?.length ?? 0,
    }));
  }
}

/**
 * Validates one line.
 *
 * @param text The line; null stands for bytes that are not UTF-8
 * @throws {RowError} When it names no picture
 */
export function parseImageRow(text: string | null, folder: string): ImageRow {
  const fields = parseFields(text, SHAPE);
  const field = PATH_FIELDS.find((name) => name in fields);
  if (field === undefined) throw unknownShape(fields, SHAPE);
  const path = fields[field];
  if (typeof path !== "string" || path === "") {
    throw new RowError("wrong type", `"${field}" is ${quotedValue(path)}, expected the path of a picture`);
  }
  return { path: isAbsolute(path) ? path : join(folder, path), label: labelOf(fields["label"] ?? null) };
}

function labelOf(label: unknown): ImageRow["label"] {
  if (label === null || typeof label === "string" || Number.isSafeInteger(label)) {
    return label as ImageRow["label"];
  }
  throw new RowError("wrong type", `"label" is ${quotedValue(label)}, expected a name or a whole number`);
}

/** Pictures of a folder's classes, numbered through. */
async function* rowsOfFolder(folder: string): AsyncGenerator<RowResult<ImageRow>> {
  let line = 0;
  for await (const { path, label } of filesOfClasses(folder, `its pictures, or a ${METADATA}`)) {
    yield { ok: true, row: { path, label }, place: { file: folder, line: ++line, path }, characters: 0 };
  }
}

function isPicture(path: string): boolean {
  return [".png", ".jpg", ".jpeg", ".webp"].includes(extname(path).toLowerCase());
}
