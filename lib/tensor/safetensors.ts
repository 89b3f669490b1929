// SPDX-License-Identifier: Apache-2.0
/**
 * The safetensors file format: 8 bytes of header length, a JSON header, then the tensors' bytes without gaps.
 * Headers are not trusted: every number is checked before anything is read by it.
 */
import { BYTES_PER_ELEMENT, type DType } from "../core/dtype.ts";
import { ValidationError } from "../core/errors.ts";
import { parseJsonText } from "../core/json_text.ts";
import { quotedValue } from "../core/quoted.ts";
import { namedSync, problemOf, saysNotFound } from "../files/errors.ts";
import { openToReadSync } from "../files/read.ts";
import { type FileState, stateOf } from "../files/state.ts";

/** Element types the format knows; those outside {@linkcode DType} can be listed but not read. */
export type StoredDType =
  | DType
  | "i8"
  | "u32"
  | "u64"
  | "bool"
  | "c64"
  | "f4"
  | "f6_e2m3"
  | "f6_e3m2"
  | "f8_e4m3"
  | "f8_e5m2"
  | "f8_e8m0"
  | "f8_e4m3fnuz"
  | "f8_e5m2fnuz";

/** One tensor of a file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly path: string;
  /** Of the first element, from the start of the file. */
  readonly offsetBytes: number;
  readonly bytes: number;
  /** All of its bytes, where no file has them: `path` then names the one that it was made of. */
  readonly memory?: Uint8Array<ArrayBuffer>;
}

/** What the header of one file says. */
export interface SafetensorsFile {
  readonly path: string;
  readonly fileBytes: number;
  /** Length prefix and JSON together: where the data begins. */
  readonly headerBytes: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Of the file when its header was read; null where there is no file. */
  readonly state: FileState | null;
}

/** Longest header that is read: the limit of the format's own library. */
export const MAX_HEADER_BYTES = 100_000_000;

/** More tensors than any one file has: the largest published checkpoints have a hundred thousand in some hundred files. */
const MOST_TENSORS = 100_000;

/** Of a header: names, shapes and offsets of that many tensors with eight dimensions each. */
const MOST_VALUES = 16 * MOST_TENSORS;

/** Of an element; halves and quarters of bytes are exact. */
const STORED_BYTES: Readonly<Record<StoredDType, number>> = {
  ...BYTES_PER_ELEMENT,
  i8: 1,
  u32: 4,
  u64: 8,
  bool: 1,
  c64: 8,
  f4: 0.5,
  f6_e2m3: 0.75,
  f6_e3m2: 0.75,
  f8_e4m3: 1,
  f8_e5m2: 1,
  f8_e8m0: 1,
  f8_e4m3fnuz: 1,
  f8_e5m2fnuz: 1,
};

/** Bytes of a tensor; not a safe integer where they overflow, or do not fill whole bytes. */
export function storedBytes(dtype: StoredDType, shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, STORED_BYTES[dtype]);
}

/**
 * Reads and checks the header of one file.
 *
 * @throws {ValidationError} When the file is missing, truncated or malformed: names the file and every reason
 */
export function readSafetensorsHeader(path: string): SafetensorsFile {
  const file = openForReading(path);
  try {
    const state = stateOf(namedSync("read", path, () => file.statSync()));
    const fileBytes = state.bytes;
    const text = readHeaderText(file, path, fileBytes);
    const headerBytes = 8 + text.bytes;
    return { ...parseHeader(path, fileBytes, headerBytes, text.json), state };
  } finally {
    file.close();
  }
}

/**
 * Reads bytes [offsetBytes, offsetBytes + out.length) of an open file.
 *
 * @throws {ValidationError} When the file ends before, or cannot be read
 */
export function readBytesAt(file: Deno.FsFile, path: string, out: Uint8Array, offsetBytes: number): void {
  namedSync("read", path, () => file.seekSync(offsetBytes, Deno.SeekMode.Start));
  for (let done = 0; done < out.length;) {
    // Pieces of 64 MiB: one read call takes at most 2 GiB.
    const count = readSome(file, path, out.subarray(done, done + (1 << 26)));
    if (count === null) {
      const end = offsetBytes + out.length;
      throw fileError(path, `it is truncated: ${end} bytes expected, it ends after ${offsetBytes + done}`);
    }
    done += count;
  }
}

function readSome(file: Deno.FsFile, path: string, out: Uint8Array): number | null {
  try {
    return namedSync("read", path, () => file.readSync(out));
  } catch (error) {
    throw fileError(path, problemOf(error));
  }
}

/** Opens a file, or says that it cannot be opened. */
export function openForReading(path: string): Deno.FsFile {
  try {
    return openToReadSync(path);
  } catch (error) {
    throw fileError(path, saysNotFound(error) ? "the file does not exist" : problemOf(error));
  }
}

function fileError(path: string, problems: string | readonly string[]): ValidationError {
  return new ValidationError(
    `Safetensors file ${path}`,
    typeof problems === "string" ? [problems] : problems,
  );
}

function readHeaderText(
  file: Deno.FsFile,
  path: string,
  fileBytes: number,
): { json: string; bytes: number } {
  if (fileBytes < 8) {
    throw fileError(path, `it is truncated: ${fileBytes} bytes, less than the 8 of the header length`);
  }
  const prefix = new Uint8Array(8);
  readBytesAt(file, path, prefix, 0);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw fileError(
      path,
      `its header length is ${length} bytes, more than the ${MAX_HEADER_BYTES} allowed: not a safetensors file?`,
    );
  }
  const bytes = Number(length);
  if (8 + bytes > fileBytes) {
    throw fileError(path, `it is truncated: the header needs ${8 + bytes} bytes, the file has ${fileBytes}`);
  }
  const raw = new Uint8Array(bytes);
  readBytesAt(file, path, raw, 8);
  try {
    return { json: new TextDecoder("utf-8", { fatal: true }).decode(raw), bytes };
  } catch {
    throw fileError(path, "its header is not UTF-8 text");
  }
}

function parseHeader(
  path: string,
  fileBytes: number,
  headerBytes: number,
  json: string,
): Omit<SafetensorsFile, "state"> {
  const header = parseHeaderText(path, json);
  if (!isRecord(header)) throw fileError(path, "its header is not a JSON object");

  const problems: string[] = [];
  const metadata = readMetadata(header["__metadata__"], problems);
  const tensors = new Map<string, TensorEntry>();
  for (const [name, fields] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const entry = readEntry(path, name, fields, headerBytes, problems);
    if (entry !== null) tensors.set(name, entry);
  }
  if (problems.length === 0) checkLayout([...tensors.values()], headerBytes, fileBytes, problems);
  if (problems.length > 0) throw fileError(path, problems);
  return { path, fileBytes, headerBytes, metadata, tensors };
}

function parseHeaderText(path: string, json: string): unknown {
  try {
    return parseJsonText(json, { keys: MOST_TENSORS + 1, values: MOST_VALUES });
  } catch (error) {
    throw fileError(path, `its header ${(error as Error).message}`);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Null stands for no metadata, and a null value for a key that is not there: some writers leave them. */
function readMetadata(value: unknown, problems: string[]): Record<string, string> {
  const entries = isRecord(value) ? Object.entries(value).filter(([, text]) => text !== null) : [];
  const known = isRecord(value) || (value ?? null) === null;
  if (known && entries.every(([, text]) => typeof text === "string")) {
    return Object.fromEntries(entries) as Record<string, string>;
  }
  problems.push("__metadata__ is not an object of strings");
  return {};
}

function readEntry(
  path: string,
  name: string,
  fields: unknown,
  headerBytes: number,
  problems: string[],
): TensorEntry | null {
  const say = (reason: string): null => {
    problems.push(`tensor ${quotedValue(name)} ${reason}`);
    return null;
  };
  if (!isRecord(fields)) return say("is not described by an object");
  const { dtype: dtypeName, shape, data_offsets: offsets } = fields;
  const dtype = typeof dtypeName === "string" ? dtypeName.toLowerCase() : "";
  if (!isStoredDType(dtype) || dtypeName !== dtype.toUpperCase()) {
    return say(`has the unknown dtype ${quotedValue(dtypeName)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) return say("has a shape that is not a list of sizes");
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return say("has data_offsets that are not two byte positions");
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) return say(`ends at byte ${end}, before it begins at ${begin}`);
  // As long as the product of sizes is exact, so is the comparison; beyond that it is an overflow by itself.
  const bytes = storedBytes(dtype, shape);
  if (!Number.isSafeInteger(bytes)) return say(`has the shape ${quotedValue(shape)}, whose size overflows`);
  if (bytes !== end - begin) {
    return say(
      `of dtype ${dtypeName} and shape ${quotedValue(shape)} needs ${bytes} bytes, its offsets span ${
        end - begin
      }`,
    );
  }
  return { name, dtype, shape, path, offsetBytes: headerBytes + begin, bytes };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isStoredDType(name: string): name is StoredDType {
  return Object.hasOwn(STORED_BYTES, name);
}

/** Tensors must lie one after the other, from the first byte of the data to the last of the file. */
function checkLayout(
  entries: readonly TensorEntry[],
  headerBytes: number,
  fileBytes: number,
  problems: string[],
): void {
  const sorted = entries.toSorted((a, b) => a.offsetBytes - b.offsetBytes || a.bytes - b.bytes);
  let end = headerBytes;
  let before = "the header";
  for (const { name, offsetBytes, bytes } of sorted) {
    const at = offsetBytes - headerBytes;
    if (offsetBytes < end) {
      problems.push(`tensor ${quotedValue(name)} begins at data byte ${at}, inside ${before}`);
    }
    if (offsetBytes > end) {
      problems.push(`${offsetBytes - end} unused bytes before tensor ${quotedValue(name)}, after ${before}`);
    }
    end = Math.max(end, offsetBytes + bytes);
    before = `tensor ${quotedValue(name)}`;
  }
  if (end > fileBytes) {
    problems.push(
      `it is truncated or its offsets are out of range: the header needs ${end} bytes, the file has ${fileBytes}`,
    );
  } else if (end < fileBytes) {
    problems.push(`${fileBytes - end} bytes follow after ${before}, described by nothing`);
  }
}
