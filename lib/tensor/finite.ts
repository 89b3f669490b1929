// SPDX-License-Identifier: Apache-2.0
/** Looks for values that are no numbers in tensors, piece by piece, so that a checkpoint need not fit in memory. */
import type { Awaitable } from "../core/awaitable.ts";
import { yieldToEvents } from "../core/event_loop.ts";
import { bf16ToFloat, f16ToFloat } from "../core/half.ts";
import { openForReading, readBytesAt, type TensorEntry } from "./safetensors.ts";

/** Elements one after the other; 16-bit floats as their bits. */
export type FloatPiece =
  | { readonly dtype: "f32"; readonly data: Float32Array }
  | { readonly dtype: "f64"; readonly data: Float64Array }
  | { readonly dtype: "bf16" | "f16"; readonly data: Uint16Array };

/** A tensor whose elements are to be looked at, in order. A piece, now or later, may be overwritten when the next one is asked for. */
export interface FloatSource {
  readonly name: string;
  /** Where it lies, for messages. */
  readonly file: string;
  readonly shape: readonly number[];
  pieces(): Iterable<Awaitable<FloatPiece>>;
}

/** One element of a tensor. */
export interface TensorValue {
  readonly tensor: string;
  readonly file: string;
  /** One number a dimension. */
  readonly index: readonly number[];
  readonly value: number;
}

/** What a search found. */
export interface FiniteSearch {
  /** The first value that is NaN or infinite, in the order of the tensors; null when there is none. */
  readonly broken: TensorValue | null;
  /** The value farthest from 0 of those looked at; null when there is none. */
  readonly largest: TensorValue | null;
  /** Tensors looked at. */
  readonly tensors: number;
}

/** Bytes that are read at a time; a multiple of every element's size. */
const PIECE_BYTES = 1 << 22;

/** A floating-point tensor of a file; null for one that holds anything else. */
export function floatEntry(entry: TensorEntry): FloatSource | null {
  const { name, path, shape, dtype } = entry;
  if (dtype !== "f32" && dtype !== "f64" && dtype !== "bf16" && dtype !== "f16") return null;
  return { name, file: path, shape, pieces: () => entryPieces(entry, dtype) };
}

function* entryPieces(
  { path, offsetBytes, bytes, memory }: TensorEntry,
  dtype: FloatPiece["dtype"],
): Generator<FloatPiece> {
  const file = memory ? null : openForReading(path);
  try {
    for (let done = 0; done < bytes; done += PIECE_BYTES) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, bytes - done));
      if (memory) piece.set(memory.subarray(done, done + piece.length));
      else if (file) readBytesAt(file, path, piece, offsetBytes + done);
      if (dtype === "f32") yield { dtype, data: new Float32Array(piece.buffer) };
      else if (dtype === "f64") yield { dtype, data: new Float64Array(piece.buffer) };
      else yield { dtype, data: new Uint16Array(piece.buffer) };
    }
  } finally {
    file?.close();
  }
}

/** Looks through tensors up to the first value that is not finite. */
export async function searchFinite(sources: Iterable<FloatSource>): Promise<FiniteSearch> {
  let largest: TensorValue | null = null;
  let tensors = 0;
  for (const source of sources) {
    tensors++;
    let start = 0;
    for await (const piece of source.pieces()) {
      const { at, broken } = extreme(piece);
      if (at >= 0) {
        const value = valueOf(piece, at);
        const found = (): TensorValue => ({
          tensor: source.name,
          file: source.file,
          index: indexOf(start + at, source.shape),
          value,
        });
        if (broken) return { broken: found(), largest, tensors };
        if (largest === null || Math.abs(value) > Math.abs(largest.value)) largest = found();
      }
      start += piece.data.length;
      await yieldToEvents();
    }
  }
  return { broken: null, largest, tensors };
}

/** Bits below the sign, which are in the order of the values they stand for, and those of infinity. */
const LAYOUTS = {
  f32: { magnitude: 0x7fffffff, infinity: 0x7f800000 },
  bf16: { magnitude: 0x7fff, infinity: 0x7f80 },
  f16: { magnitude: 0x7fff, infinity: 0x7c00 },
} as const;

/** Place of the first element that is not finite, or else of the one farthest from 0; -1 in an empty piece. */
function extreme({ dtype, data }: FloatPiece): { readonly at: number; readonly broken: boolean } {
  if (dtype === "f64") return extremeOf(data.map(Math.abs), -1, Infinity);
  const { magnitude, infinity } = LAYOUTS[dtype];
  const bits = dtype === "f32" ? new Uint32Array(data.buffer, data.byteOffset, data.length) : data;
  return extremeOf(bits, magnitude, infinity);
}

function extremeOf(
  values: Uint16Array | Uint32Array | Float64Array,
  mask: number,
  infinity: number,
): { readonly at: number; readonly broken: boolean } {
  let [at, most] = [-1, -1];
  const isBits = !(values instanceof Float64Array);
  for (let i = 0; i < values.length; i++) {
    const value = isBits ? (values[i] as number) & mask : values[i] as number;
    if (!(value < infinity)) return { at: i, broken: true };
    if (value > most) [most, at] = [value, i];
  }
  return { at, broken: false };
}

function valueOf({ dtype, data }: FloatPiece, at: number): number {
  const stored = data[at] as number;
  return dtype === "bf16" ? bf16ToFloat(stored) : dtype === "f16" ? f16ToFloat(stored) : stored;
}

/** An element's place in each dimension, the last one running fastest. */
function indexOf(element: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  for (const size of [...shape].reverse()) {
    index.unshift(element % size);
    element = Math.floor(element / size);
  }
  return index;
}
