// SPDX-License-Identifier: Apache-2.0
/** Lines of a file as a stream, so that a data file need not fit in memory. */
import { problemOf } from "../files/errors.ts";
import { readPieces, statIfThere } from "../files/read.ts";

const NEWLINE = 0x0a;

/** One line. `text` is null where the bytes are not UTF-8. */
export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text: string | null;
}

/** Why a path cannot be read as a file, to stand after its name; null when it can. */
export async function fileProblem(path: string): Promise<string | null> {
  try {
    const found = await statIfThere(path);
    if (found === null) return "does not exist";
    return found.isDirectory ? "is a folder" : null;
  } catch (error) {
    return `is refused: ${problemOf(error)}`;
  }
}

/**
 * The lines of a file that hold anything but white space.
 *
 * @param onBytes Told how many bytes each read gave
 */
export async function* readLines(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<Line> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let number = 0;
  for await (const bytes of splitLines(path, onBytes)) {
    number++;
    const text = decode(decoder, bytes);
    if (text === null || text.trim() !== "") yield { number, text };
  }
}

function decode(decoder: TextDecoder, bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

/** Cuts at newlines, before decoding: a newline byte is never part of another UTF-8 character. */
async function* splitLines(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  let pending: Uint8Array[] = [];
  for await (const chunk of readPieces(path)) {
    onBytes?.(chunk.length);
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      yield join([...pending, chunk.subarray(start, end)]);
      pending = [];
      start = end + 1;
    }
    if (start < chunk.length) pending.push(chunk.slice(start));
  }
  if (pending.length > 0) yield join(pending);
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
