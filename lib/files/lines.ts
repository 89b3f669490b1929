// SPDX-License-Identifier: Apache-2.0
/** Lines of files of any length, from the front and from the end: memory for a block and the longest line, never for the file. */
import { named } from "./errors.ts";
import { openToRead } from "./read.ts";

/** A line with its place in the file. */
export interface FileLine {
  /** First byte. */
  readonly start: number;
  /** Byte after its last one, the newline included. */
  readonly end: number;
  /** Whether a newline ends it: only a file's last line can have none. */
  readonly whole: boolean;
  /** Without the newline; null for a line that is longer than was asked for. */
  readonly text: string | null;
}

const FORWARD_BYTES = 1 << 20;
/** What is looked for from the end is near it. */
const BACKWARD_BYTES = 1 << 16;
const NEWLINE = 10;

/**
 * The whole lines of a file in order, as many at once as a block holds: a last line without a newline is being written.
 *
 * @param from Byte that a line begins at     @param maxBytes Longest line that is given as text
 */
export async function* readLines(path: string, from: number, maxBytes: number): AsyncGenerator<FileLine[]> {
  using file = await openToRead(path);
  await named("read", path, () => file.seek(from, Deno.SeekMode.Start));
  let buffer = new Uint8Array(FORWARD_BYTES);
  let held = 0; // bytes of a line that is not whole yet
  let start = from; // of that line
  let bufferAt = from; // place in the file of the buffer's first byte
  for (;;) {
    const room = buffer.subarray(held);
    const count = await named("read", path, () => file.read(room));
    if (count === null) return;
    const lines: FileLine[] = [];
    const filled = buffer.subarray(0, held + count);
    let next = 0;
    for (let at = filled.indexOf(NEWLINE, held); at >= 0; at = filled.indexOf(NEWLINE, next)) {
      const end = bufferAt + at + 1;
      // What was dropped of a line too long stood before the buffer.
      const isKept = start >= bufferAt && end - start <= maxBytes;
      lines.push({ start, end, whole: true, text: isKept ? decode(filled.subarray(next, at)) : null });
      [next, start] = [at + 1, end];
    }
    if (lines.length > 0) yield lines;
    const isLong = bufferAt + filled.length - start > maxBytes;
    const kept = isLong ? filled.length : next;
    held = filled.length - kept;
    bufferAt += kept;
    // As long as the longest line needs, and after that as before.
    const bytes = held > buffer.length / 2 ? 2 * buffer.length : held === 0 ? FORWARD_BYTES : buffer.length;
    const roomy = bytes === buffer.length ? buffer : new Uint8Array(bytes);
    roomy.set(filled.subarray(kept));
    buffer = roomy;
  }
}

/**
 * The lines of a file from its last to its first: reads no more than the lines taken, and a block.
 *
 * @param maxBytes Longest line that is given as text
 */
export async function* readLinesBackwards(path: string, maxBytes: number): AsyncGenerator<FileLine> {
  using file = await openToRead(path);
  let end: number = await named("read", path, () => file.seek(0, Deno.SeekMode.End));
  let from = end; // place in the file of the first byte held
  let held: Uint8Array = new Uint8Array(0);
  let isLong = false;
  let whole = true;
  while (end > 0) {
    if (!isLong && from < end) whole = held[end - from - 1] === NEWLINE;
    // The line's own newline does not end the one before.
    const before = isLong ? held : held.subarray(0, Math.max(0, end - from - 1));
    const newline: number = before.lastIndexOf(NEWLINE);
    if (newline < 0 && from > 0) {
      if (held.length > maxBytes) [isLong, held] = [true, new Uint8Array(0)];
      const count = Math.min(from, Math.max(BACKWARD_BYTES, held.length));
      from -= count;
      const block = await readAt(path, file, from, count);
      held = isLong ? block : joined(block, held);
      continue;
    }
    const start = from + newline + 1;
    const last = held.subarray(newline + 1, end - from - (whole ? 1 : 0));
    yield { start, end, whole, text: isLong || end - start > maxBytes ? null : decode(last) };
    [end, isLong, held] = [start, false, held.subarray(0, newline + 1)];
  }
}

/**
 * Bytes of a file, fewer where it ends before.
 *
 * @param start First byte     @param end Byte after the last one
 */
export async function readRange(path: string, start: number, end: number): Promise<Uint8Array> {
  using file = await openToRead(path);
  return await readAt(path, file, start, end - start);
}

async function readAt(path: string, file: Deno.FsFile, start: number, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  await named("read", path, () => file.seek(start, Deno.SeekMode.Start));
  for (let done = 0; done < count;) {
    const got = await named("read", path, () => file.read(bytes.subarray(done)));
    if (got === null) return bytes.subarray(0, done);
    done += got;
  }
  return bytes;
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** What is damaged is read as U+FFFD: it is for the reader of the line to say so. */
function decode(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
