// SPDX-License-Identifier: Apache-2.0
/** Reading files whole, looking at them, and opening them. */
import { UserError } from "../core/errors.ts";
import { parseJsonText } from "../core/json_text.ts";
import { named, namedSync } from "./errors.ts";
import { refuseEndless } from "./kinds.ts";

/** Bytes of one read of {@linkcode readPieces}. */
const PIECE_BYTES = 1 << 20;

/** More than any file that is read as one text: configurations, tokenizers, templates, records of runs. */
export const MOST_TEXT_BYTES = 256 * 2 ** 20;

/** Choices of {@linkcode readText}. */
export interface ReadTextOptions {
  /** Bytes that are read at most. Default {@linkcode MOST_TEXT_BYTES}. */
  readonly maxBytes?: number;
}

/**
 * A file's text, without a byte-order mark.
 *
 * @throws {UserError} When it cannot be read, is no UTF-8, or is longer than `maxBytes`
 * @throws {MachineError} When the machine fails
 */
export function readText(path: string, options: ReadTextOptions = {}): Promise<string> {
  // Files read as one text are small: reading them does not need to wait for its turn.
  return Promise.resolve().then(() => readTextSync(path, options));
}

/** See {@linkcode readText}. */
export function readTextSync(path: string, { maxBytes = MOST_TEXT_BYTES }: ReadTextOptions = {}): string {
  const bytes = readBytesSync(path, maxBytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UserError(`${path} is not valid UTF-8 text`);
  }
}

/**
 * All text on standard input.
 *
 * @throws {UserError} When it is no UTF-8, or longer than `maxBytes`
 */
export async function readStdin(maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of Deno.stdin.readable) {
    length += piece.length;
    if (length > maxBytes) throw new UserError(`Standard input has more than the ${maxBytes} bytes allowed`);
    pieces.push(piece);
  }
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    return pieces.map((piece) => decoder.decode(piece, { stream: true })).join("") + decoder.decode();
  } catch {
    throw new UserError("Standard input is not valid UTF-8 text");
  }
}

/** A file's text, or null where there is none. */
export async function readTextIfThere(path: string, options: ReadTextOptions = {}): Promise<string | null> {
  return await statIfThere(path) === null ? null : await readText(path, options);
}

/**
 * A JSON file's value.
 *
 * @throws {UserError} When it cannot be read, is no JSON, or has a key twice
 */
export function readJsonSync(path: string, options: ReadTextOptions = {}): unknown {
  return parseJson(path, readTextSync(path, options));
}

/** A JSON file's value, or null where there is no file. */
export async function readJsonIfThere(path: string, options: ReadTextOptions = {}): Promise<unknown> {
  const text = await readTextIfThere(path, options);
  return text === null ? null : parseJson(path, text);
}

/** @throws {UserError} When the text is no JSON, or has a key twice, naming the path */
export function parseJson(path: string, text: string): unknown {
  try {
    return parseJsonText(text);
  } catch (error) {
    throw error instanceof SyntaxError ? new UserError(`${path} ${error.message}`) : error;
  }
}

/** Opens a file to read. The caller closes it. */
export function openToRead(path: string): Promise<Deno.FsFile> {
  return named("read", path, () => {
    refuseEndless(path);
    return Deno.open(path, { read: true });
  });
}

/** Opens a file to read. The caller closes it. */
export function openToReadSync(path: string): Deno.FsFile {
  return namedSync("read", path, () => {
    refuseEndless(path);
    return Deno.openSync(path, { read: true });
  });
}

/** What stands at a path; null where nothing does. @throws When that cannot be found out */
export function statIfThere(path: string): Promise<Deno.FileInfo | null> {
  return named("read", path, () => Deno.stat(path).catch(nullIfAbsent));
}

/** See {@linkcode statIfThere}. */
export function statIfThereSync(path: string): Deno.FileInfo | null {
  return namedSync("read", path, () => {
    try {
      return Deno.statSync(path);
    } catch (error) {
      return nullIfAbsent(error);
    }
  });
}

/** What stands at a path. @throws {UserError} When nothing does */
export function stat(path: string): Promise<Deno.FileInfo> {
  return named("read", path, () => Deno.stat(path));
}

/** Whether something stands at a path. @throws When that cannot be found out */
export async function isThere(path: string): Promise<boolean> {
  return await statIfThere(path) !== null;
}

/** Whether something stands at a path; false too when that cannot be found out. */
export function isThereSync(path: string): boolean {
  try {
    return statIfThereSync(path) !== null;
  } catch {
    return false;
  }
}

/** Whether a folder stands at a path. @throws When that cannot be found out */
export async function isFolder(path: string): Promise<boolean> {
  return (await statIfThere(path))?.isDirectory ?? false;
}

/** See {@linkcode isFolder}. */
export function isFolderSync(path: string): boolean {
  return statIfThereSync(path)?.isDirectory ?? false;
}

/** The absolute path without links. @throws {UserError} When nothing stands there */
export function realPathSync(path: string): string {
  return namedSync("read", path, () => Deno.realPathSync(path));
}

/** Entries of a folder, by name. @throws {UserError} When there is none */
export function listFolder(path: string): Promise<Deno.DirEntry[]> {
  return named("list", path, async () => byName(await Array.fromAsync(Deno.readDir(path))));
}

/** See {@linkcode listFolder}. */
export function listFolderSync(path: string): Deno.DirEntry[] {
  return namedSync("list", path, () => byName([...Deno.readDirSync(path)]));
}

/** Entries of a folder, by name; none where there is no folder. */
export async function listFolderIfThere(path: string): Promise<Deno.DirEntry[]> {
  return await statIfThere(path) === null ? [] : await listFolder(path);
}

function byName(entries: Deno.DirEntry[]): Deno.DirEntry[] {
  return entries.sort((a, b) => a.name < b.name ? -1 : 1);
}

/** Null for the error of what is not there. @throws Any other */
export function nullIfAbsent(error: unknown): null {
  // Below a file there is nothing either.
  if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return null;
  throw error;
}

/** The bytes of a file in order. A piece is overwritten by the next one. */
export async function* readPieces(
  path: string,
  pieceBytes: number = PIECE_BYTES,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using file = await openToRead(path);
  const piece = new Uint8Array(pieceBytes);
  for (;;) {
    const count = await named("read", path, () => file.read(piece));
    if (count === null) return;
    yield piece.subarray(0, count);
  }
}

/**
 * A file's bytes. It is read piece by piece: what a file says of its size is wrong for devices, pipes, and files that grow.
 *
 * @throws {UserError} When it cannot be read, or is longer than `maxBytes`
 * @throws {MachineError} When the machine fails
 */
export function readBytesSync(path: string, maxBytes: number = MOST_TEXT_BYTES): Uint8Array {
  using file = openToReadSync(path);
  const { size } = namedSync("read", path, () => file.statSync());
  const refuseAbove = (bytes: number): void => {
    if (bytes <= maxBytes) return;
    throw new UserError(`${path} has ${bytes} bytes, more than the ${maxBytes} that such a file may have`);
  };
  refuseAbove(size);
  let bytes = new Uint8Array(size + 1);
  let length = 0;
  for (;;) {
    if (length === bytes.length) {
      const longer = new Uint8Array(Math.min(2 * length, maxBytes + 1));
      longer.set(bytes);
      bytes = longer;
    }
    const count = namedSync("read", path, () => file.readSync(bytes.subarray(length)));
    if (count === null) return bytes.subarray(0, length);
    length += count;
    refuseAbove(length);
  }
}
