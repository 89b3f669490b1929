// SPDX-License-Identifier: Apache-2.0
/** Lines of a file as a stream, so that a data file need not fit in memory. */
import { UserError } from "../core/errors.ts";
import { problemOf } from "../files/errors.ts";
import { endlessKind } from "../files/kinds.ts";
import { readPieces, statIfThere } from "../files/read.ts";

const NEWLINE = 0x0a;

/** Bytes of the longest line: more than any row, and little beside the memory of a model. */
const MOST_LINE_BYTES = 64 << 20;

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
    if (found.isDirectory) return "is a folder";
    const kind = endlessKind(path);
    return kind === null ? null : `is ${kind}, not a file`;
  } catch (error) {
    return `is refused: ${problemOf(error)}`;
  }
}

/**
 * The lines of a file that hold anything but white space.
 *
 * @param onBytes Called with how many bytes each read gave
 * @throws {UserError} When the file is UTF-16 text, or a line is longer than any row: names file and line
 */
export async function* readLines(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<Line> {
  let number = 0;
  for await (const bytes of splitLines(path, onBytes)) {
    number++;
    if (number === 1) refuseUtf16(path, bytes);
    const text = decode(bytes, number === 1);
    if (text === null || text.trim() !== "") yield { number, text };
  }
}

/** Windows programs write it, with a mark in front that is no UTF-8. */
function refuseUtf16(path: string, [first, second]: Uint8Array): void {
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    throw new UserError(`"${path}" is UTF-16 text: save it as UTF-8`);
  }
}

/** @param isFirst A byte-order mark may stand at the file's beginning, where it is no text */
function decode(bytes: Uint8Array, isFirst: boolean): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: !isFirst }).decode(bytes);
  } catch {
    return null;
  }
}

/** Cuts at newlines, before decoding: a newline byte is never part of another UTF-8 character. */
async function* splitLines(path: string, onBytes?: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  let pending: Uint8Array[] = [];
  let [pendingBytes, lines] = [0, 0];
  for await (const chunk of readPieces(path)) {
    onBytes?.(chunk.length);
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      yield join([...pending, chunk.subarray(start, end)]);
      [pending, pendingBytes] = [[], 0];
      lines++;
      start = end + 1;
    }
    if (start < chunk.length) pending.push(chunk.slice(start));
    pendingBytes += chunk.length - start;
    if (pendingBytes > MOST_LINE_BYTES) {
      throw new UserError(
        `"${path}" has more than ${MOST_LINE_BYTES} bytes in line ${lines + 1}, more than any row: ` +
          "rows of JSONL stand in lines of their own",
      );
    }
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
