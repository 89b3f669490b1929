// SPDX-License-Identifier: Apache-2.0
/** Whether two stored tensors hold the same numbers, without having both in memory. */
import { openForReading, readBytesAt, type TensorEntry } from "./safetensors.ts";
import { floatsOf } from "./read_tensor.ts";
import { numel } from "./tensor.ts";

/** Elements compared at a time. */
const PIECE_ELEMENTS = 1 << 20;

/**
 * Compares two tensors of floats of any stored types, piece by piece, up to the first piece that differs. Zeros of either
 * sign are equal; with a NaN only pieces of the same bytes are.
 *
 * @throws {ValidationError} When a file ends before, or cannot be read
 */
export function sameValues(a: TensorEntry, b: TensorEntry): boolean {
  const count = numel(a.shape);
  if (numel(b.shape) !== count) return false;
  using fileA = openForReading(a.path);
  using fileB = openForReading(b.path);
  const piece = (
    file: Deno.FsFile,
    entry: TensorEntry,
    begin: number,
    elements: number,
  ): Uint8Array<ArrayBuffer> => {
    const width = entry.bytes / count;
    const bytes = new Uint8Array(elements * width);
    readBytesAt(file, entry.path, bytes, entry.offsetBytes + begin * width);
    return bytes;
  };
  for (let begin = 0; begin < count; begin += PIECE_ELEMENTS) {
    const elements = Math.min(PIECE_ELEMENTS, count - begin);
    const [x, y] = [piece(fileA, a, begin, elements), piece(fileB, b, begin, elements)];
    if (a.dtype === b.dtype && sameBytes(x, y)) continue;
    const [left, right] = [floatsOf(a, x), floatsOf(b, y)];
    if (!left.every((value, i) => value === right[i])) return false;
  }
  return true;
}

function sameBytes(x: Uint8Array, y: Uint8Array): boolean {
  // Lengths are equal, and buffers their own: words first, then the few bytes after them.
  const words = x.length >> 2;
  const [left, right] = [new Uint32Array(x.buffer, 0, words), new Uint32Array(y.buffer, 0, words)];
  for (let i = 0; i < words; i++) if (left[i] !== right[i]) return false;
  for (let i = words << 2; i < x.length; i++) if (x[i] !== y[i]) return false;
  return true;
}
