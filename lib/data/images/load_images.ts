// SPDX-License-Identifier: Apache-2.0
/** Files and folders of pictures into a data set, with every row accounted for. */
import { UserError } from "../../core/errors.ts";
import { problemOf } from "../../files/errors.ts";
import { type ClassLabel, classNames, classNumber } from "../class_labels.ts";
import type { Dataset, ReadReport } from "../dataset.ts";
import { type BadRowPolicy, checkRowsRead } from "../bad_rows.ts";
import { RowError } from "../row_error.ts";
import { type BadRow, catchBadRow, type RowPlace } from "../rows.ts";
import type { ExaminedPicture, ImageReader } from "./image_files.ts";
import { ImageError } from "./image.ts";
import { type ImageRow, readImageRows } from "./image_rows.ts";

/** How pictures become a data set. */
export interface LoadImagesOptions {
  /** Names of the classes, by number; those of the data when absent. */
  readonly classes?: readonly string[];
  /** Tokens of a picture. */
  readonly tokens: number;
  /** "stop" (default) looks at all rows and then throws one error that lists the first bad ones; "skip" leaves them out. */
  readonly badRows?: BadRowPolicy;
}

/** A row that can be used. */
interface Picture extends ExaminedPicture {
  readonly path: string;
  readonly label: number;
  readonly place: RowPlace;
}

/**
 * Looks at every picture of JSONL files or folders; decodes none.
 *
 * @param paths Read in this order
 * @throws {BadRowsError} With policy "stop", when there are bad rows
 * @throws {UserError} When a path is missing, or there is no row
 */
export async function loadImages(
  paths: readonly string[],
  reader: ImageReader,
  { classes, tokens, badRows: policy = "stop" }: LoadImagesOptions,
): Promise<Dataset> {
  const rows: { readonly row: ImageRow; readonly place: RowPlace }[] = [];
  const bad: BadRow[] = [];
  for await (const result of readImageRows(paths)) {
    if (result.ok) rows.push(result);
    else bad.push(result.bad);
  }
  const rowsRead = rows.length + bad.length;
  const names = classes ?? namesOf(rows.flatMap(({ row }) => row.label ?? []));
  const pictures: Picture[] = [];
  for (const { row, place } of rows) {
    const found = await catchBadRow(place, () => lookAt(row, place, names, reader));
    if ("bad" in found) bad.push(found.bad);
    else pictures.push(found);
  }
  const report = { rowsRead, rowsUsed: pictures.length, badRows: bad };
  checkRowsRead(paths, policy, report);
  return imageDataset(pictures, reader, names, tokens, report);
}

function namesOf(labels: readonly ClassLabel[]): readonly string[] {
  try {
    return classNames(labels);
  } catch (error) {
    throw error instanceof RowError ? new UserError(`Cannot read the data: ${error.message}`) : error;
  }
}

/** @throws {RowError} When a row cannot be used */
function lookAt(row: ImageRow, place: RowPlace, names: readonly string[], reader: ImageReader): Picture {
  const label = classNumber(row.label, names);
  try {
    return { path: row.path, ...reader.examine(row.path), label, place };
  } catch (error) {
    if (error instanceof ImageError) {
      throw new RowError("unreadable picture", `picture "${row.path}" cannot be read: ${error.message}`);
    }
    if (error instanceof UserError) throw new RowError("unreadable picture", problemOf(error));
    throw error;
  }
}

function imageDataset(
  pictures: readonly Picture[],
  reader: ImageReader,
  names: readonly string[],
  tokens: number,
  report: ReadReport,
): Dataset {
  const files = [...new Set(pictures.map(({ place }) => place.file))];
  const place = new Map(files.map((file, i) => [file, i]));
  const count = pictures.length;
  return {
    ids: new Int32Array(),
    lossMask: new Uint8Array(),
    offsets: Float64Array.from({ length: count + 1 }, (_, i) => i * tokens),
    files,
    fileOf: Uint32Array.from(pictures, ({ place: { file } }) => place.get(file) as number),
    lineOf: Uint32Array.from(pictures, ({ place: { line } }) => line),
    ...(pictures.some(({ place }) => place.path) &&
      { pathOf: pictures.map(({ place }) => place.path ?? "") }),
    cutOf: new Uint32Array(count),
    seqLen: tokens,
    labels: { kind: "classes", of: Int32Array.from(pictures, ({ label }) => label), names },
    pictures: {
      reader,
      paths: pictures.map(({ path }) => path),
      hashes: pictures.map(({ hash }) => hash),
      mostPixels: pictures.reduce((most, { pixels }) => Math.max(most, pixels), 0),
    },
    report: {
      ...report,
      warnings: [],
      truncatedRows: 0,
      cutTokens: 0,
      tokens: count * tokens,
      targets: count,
    },
  };
}
