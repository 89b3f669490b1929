// SPDX-License-Identifier: Apache-2.0
/**
 * A tokenised data set as one file: 16 bytes (a mark, the version, the length of what follows), a JSON header padded to a
 * multiple of 8 bytes, the arrays in the order of {@linkcode ARRAYS}, each padded likewise, and the SHA-256 of all before.
 * Numbers are little-endian, as on every machine that Deno runs on.
 */
import { createHash, type Hash } from "node:crypto";
import { isJsonObject } from "../core/json.ts";
import { readPieces, statIfThere } from "../files/read.ts";
import { type FileWriter, writeFileAtomically } from "../files/write.ts";
import { hostArray } from "../native/host_memory.ts";
import type { DataReport, Dataset } from "./dataset.ts";
import type { DataWarning } from "./row_warnings.ts";
import type { BadRow } from "./rows.ts";
import type { ShiftedIn } from "./shift_right.ts";

/** Of this format. */
export const FILE_VERSION = 1;

const MARK = "MEFTDATA";
const DIGEST_BYTES = 32;

/** Bytes hashed at a time. */
const PIECE = 1 << 26;

/** Of every data set. */
const ARRAYS = [
  ["ids", Int32Array],
  ["lossMask", Uint8Array],
  ["offsets", Float64Array],
  ["fileOf", Uint32Array],
  ["lineOf", Uint32Array],
  ["cutOf", Uint32Array],
] as const;

/** Of those with sources, behind the others. */
const SOURCE_ARRAYS = [["sourceIds", Int32Array], ["sourceOffsets", Float64Array]] as const;

const ALL_ARRAYS = [...ARRAYS, ...SOURCE_ARRAYS] as const;

type ArrayName = typeof ALL_ARRAYS[number][0];
type Arrays = Pick<Dataset, typeof ARRAYS[number][0]> & {
  sourceIds: Int32Array;
  sourceOffsets: Float64Array;
};

/** The header. Files are named by their place among those read: they may have moved. */
interface Header {
  readonly key: string;
  readonly seqLen: number;
  /** Of the arrays that there are. */
  readonly lengths: Readonly<Partial<Record<ArrayName, number>>>;
  /** Of sources. */
  readonly shiftedIn?: ShiftedIn;
  readonly report: Omit<DataReport, "badRows" | "warnings"> & {
    readonly badRows: readonly (Omit<BadRow, "file"> & { readonly file: number })[];
    readonly warnings:
      readonly (Omit<DataWarning, "first"> & { readonly first: { file: number; line: number } })[];
  };
}

/** Bytes that a data set takes on disk, but for its header. */
export function datasetBytes(dataset: Dataset): number {
  return arraysOf(dataset).reduce((sum, [, array]) => sum + padded(array.byteLength), 16 + DIGEST_BYTES);
}

/** The arrays that a data set has, in their order. */
function arraysOf(
  dataset: Dataset,
): (readonly [ArrayName, Int32Array | Uint8Array | Float64Array | Uint32Array])[] {
  const { sources } = dataset;
  return [
    ...ARRAYS.map(([name]) => [name, dataset[name]] as const),
    ...(sources ? [["sourceIds", sources.ids], ["sourceOffsets", sources.offsets]] as const : []),
  ];
}

/**
 * Writes a data set, whole or not at all.
 *
 * @param key What it was made of; a file of another key is not read
 * @throws {UserError} When it cannot be written
 */
export async function writeDataset(path: string, dataset: Dataset, key: string): Promise<void> {
  const header = encodeHeader(dataset, key);
  await writeFileAtomically(path, datasetBytes(dataset) + header.length, async (write) => {
    const hash = createHash("sha256");
    const put: FileWriter = async (bytes) => {
      updateHash(hash, bytes);
      await write(bytes);
    };
    await put(header);
    for (const [, { buffer, byteOffset, byteLength }] of arraysOf(dataset)) {
      await put(new Uint8Array(buffer, byteOffset, byteLength));
      await put(new Uint8Array(padded(byteLength) - byteLength));
    }
    await write(hash.digest());
  });
}

/**
 * Reads a data set; null when the file is not there, is damaged, or is of another key.
 *
 * @param files The files it was made of, as they are called now
 * @param vocabSize No id may reach it
 */
export async function readDataset(
  path: string,
  key: string,
  files: readonly string[],
  vocabSize: number,
): Promise<Dataset | null> {
  const bytes = await readWhole(path);
  if (bytes === null || bytes.length < 16 + DIGEST_BYTES) return null;
  const view = new DataView(bytes.buffer);
  const isOurs = new TextDecoder().decode(bytes.subarray(0, 8)) === MARK;
  const headerEnd = 16 + view.getUint32(12, true);
  if (!isOurs || view.getUint32(8, true) !== FILE_VERSION || headerEnd > bytes.length - DIGEST_BYTES) {
    return null;
  }
  const header = decodeHeader(bytes.subarray(16, headerEnd));
  if (header === null || header.key !== key) return null;
  const present = ALL_ARRAYS.filter(([name]) => header.lengths[name] !== undefined);
  const end = present.reduce(
    (sum, [name, Kind]) => sum + padded((header.lengths[name] as number) * Kind.BYTES_PER_ELEMENT),
    headerEnd,
  );
  if (end + DIGEST_BYTES !== bytes.length) return null;
  const hash = createHash("sha256");
  updateHash(hash, bytes.subarray(0, end));
  if (!hash.digest().equals(bytes.subarray(end))) return null;
  let at = headerEnd;
  const { sourceIds, sourceOffsets, ...arrays } = Object.fromEntries(present.map(([name, Kind]) => {
    const array = new Kind(bytes.buffer, at, header.lengths[name] as number);
    at += padded(array.byteLength);
    return [name, array];
  })) as unknown as Arrays;
  const { seqLen, report, shiftedIn } = header;
  if (!isSound(arrays, files.length, vocabSize)) return null;
  const whole = { ...arrays, files, seqLen, report: nameFiles(report, files) };
  if (shiftedIn === undefined) return whole;
  if (!sourcesAreSound(sourceIds, sourceOffsets, arrays.offsets.length, vocabSize)) return null;
  return { ...whole, sources: { ids: sourceIds, offsets: sourceOffsets, shiftedIn } };
}

function encodeHeader(dataset: Dataset, key: string): Uint8Array {
  const { files, seqLen, report, sources } = dataset;
  const place = new Map(files.map((file, i) => [file, i]));
  const numbered = <T extends { readonly file: string }>(value: T) => ({
    ...value,
    file: place.get(value.file) ?? 0,
  });
  const header: Header = {
    key,
    seqLen,
    lengths: Object.fromEntries(arraysOf(dataset).map(([name, { length }]) => [name, length])),
    ...(sources && { shiftedIn: sources.shiftedIn }),
    report: {
      ...report,
      badRows: report.badRows.map(numbered),
      warnings: report.warnings.map((warning) => ({ ...warning, first: numbered(warning.first) })),
    },
  };
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(16 + padded(json.length)).fill(0x20, 16);
  bytes.set(new TextEncoder().encode(MARK));
  bytes.set(json, 16);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, FILE_VERSION, true);
  view.setUint32(12, padded(json.length), true);
  return bytes;
}

function decodeHeader(bytes: Uint8Array): Header | null {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isJsonObject(value) || !isJsonObject(value["lengths"]) || !isJsonObject(value["report"])) {
      return null;
    }
    const { badRows, warnings } = value["report"];
    return Array.isArray(badRows) && Array.isArray(warnings) ? value as unknown as Header : null;
  } catch {
    return null;
  }
}

function nameFiles(report: Header["report"], files: readonly string[]): DataReport {
  const named = <T extends { readonly file: number }>(value: T) => ({
    ...value,
    file: files[value.file] as string,
  });
  return {
    ...report,
    badRows: report.badRows.map(named),
    warnings: report.warnings.map((warning) => ({ ...warning, first: named(warning.first) })),
  };
}

/** What everything else relies on: ids of the vocabulary, ascending boundaries, files that there are. */
function isSound(
  arrays: Omit<Arrays, typeof SOURCE_ARRAYS[number][0]>,
  fileCount: number,
  vocabSize: number,
): boolean {
  const { ids, lossMask, offsets, fileOf, lineOf, cutOf } = arrays;
  const count = offsets.length - 1;
  if (lossMask.length !== ids.length || offsets[0] !== 0 || offsets[count] !== ids.length) return false;
  if ([fileOf, lineOf, cutOf].some(({ length }) => length !== count)) return false;
  for (let i = 0; i < count; i++) {
    if (!((offsets[i] as number) <= (offsets[i + 1] as number)) || (fileOf[i] as number) >= fileCount) {
      return false;
    }
  }
  let [low, high, masks] = [0, 0, 0];
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] as number;
    if (id < low) low = id;
    if (id > high) high = id;
    masks |= lossMask[i] as number;
  }
  return low === 0 && high < vocabSize && masks <= 1;
}

function sourcesAreSound(ids: Int32Array, offsets: Float64Array, count: number, vocabSize: number): boolean {
  return offsets.length === count && offsets[0] === 0 && offsets.at(-1) === ids.length &&
    offsets.every((offset, i) => i === 0 || (offsets[i - 1] as number) <= offset) &&
    ids.every((id) => id >= 0 && id < vocabSize);
}

async function readWhole(path: string): Promise<Uint8Array<ArrayBuffer> | null> {
  const found = await statIfThere(path);
  if (found === null) return null;
  const bytes = hostArray<Uint8Array<ArrayBuffer>>(Uint8Array, found.size, path);
  let done = 0;
  for await (const piece of readPieces(path, PIECE)) {
    if (done + piece.length > bytes.length) return null;
    bytes.set(piece, done);
    done += piece.length;
  }
  return done === bytes.length ? bytes : null;
}

function updateHash(hash: Hash, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += PIECE) hash.update(bytes.subarray(at, at + PIECE));
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}
