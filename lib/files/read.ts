// SPDX-License-Identifier: Apache-2.0
/** Reading files whole, looking at them, and opening them. */
import { UserError } from "../core/errors.ts";
import { named, namedSync } from "./errors.ts";

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
  const bytes = readBytes(path, maxBytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UserError(`Cannot read ${path}: it is not UTF-8 text`);
  }
}

/** A file's text, or null where there is none. */
export async function readTextIfThere(path: string, options: ReadTextOptions = {}): Promise<string | null> {
  return await statIfThere(path) === null ? null : await readText(path, options);
}

/**
 * A JSON file's value.
 *
 * @throws {UserError} When it cannot be read, or is no JSON
 */
export function readJsonSync(path: string, options: ReadTextOptions = {}): unknown {
  return parseJson(path, readTextSync(path, options));
}

/** A JSON file's value, or null where there is no file. */
export async function readJsonIfThere(path: string, options: ReadTextOptions = {}): Promise<unknown> {
  const text = await readTextIfThere(path, options);
  return text === null ? null : parseJson(path, text);
}

/** @throws {UserError} When the text is no JSON, naming the path */
export function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`Cannot read ${path}: it is not JSON (${(error as Error).message})`);
  }
}

/** Opens a file to read. The caller closes it. */
export function openToRead(path: string): Promise<Deno.FsFile> {
  return named("read", path, () => Deno.open(path, { read: true }));
}

/** Opens a file to read. The caller closes it. */
export function openToReadSync(path: string): Deno.FsFile {
  return namedSync("read", path, () => Deno.openSync(path, { read: true }));
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

function nullIfAbsent(error: unknown): null {
  // Below a file there is nothing either.
  if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return null;
  throw error;
}

/** Read piece by piece: what a file says of its size is wrong for devices, pipes, and files that grow. */
function readBytes(path: string, maxBytes: number): Uint8Array {
  using file = openToReadSync(path);
  let bytes = new Uint8Array(Math.min(maxBytes, namedSync("read", path, () => file.statSync()).size) + 1);
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
    if (length > maxBytes) {
      throw new UserError(
        `Cannot read ${path}: it has more than the ${maxBytes} bytes that such a file may have`,
      );
    }
  }
}
