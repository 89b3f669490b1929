// SPDX-License-Identifier: Apache-2.0
/** Reads GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): metadata, and tensors as f32. */
import { f16ToFloat } from "../../lib/core/half.ts";

/** A value of the metadata. */
export type GgufValue = number | boolean | string | readonly GgufValue[];

/** A tensor's place. */
export interface GgufTensor {
  readonly name: string;
  /** Rows first, as checkpoints have them; the file has the other order. */
  readonly shape: readonly number[];
  readonly type: number;
  /** Of its first byte in the file. */
  readonly start: number;
}

/** A file, read. */
export interface Gguf {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: readonly GgufTensor[];
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const [STRING, ARRAY] = [8, 9];
/** Bytes and reader of each kind of number, by its code. */
const NUMBERS: ReadonlyMap<number, readonly [bytes: number, read: (view: DataView, at: number) => number]> =
  new Map([
    [0, [1, (view, at) => view.getUint8(at)]],
    [1, [1, (view, at) => view.getInt8(at)]],
    [2, [2, (view, at) => view.getUint16(at, true)]],
    [3, [2, (view, at) => view.getInt16(at, true)]],
    [4, [4, (view, at) => view.getUint32(at, true)]],
    [5, [4, (view, at) => view.getInt32(at, true)]],
    [6, [4, (view, at) => view.getFloat32(at, true)]],
    [7, [1, (view, at) => view.getUint8(at)]],
    [10, [8, (view, at) => Number(view.getBigUint64(at, true))]],
    [11, [8, (view, at) => Number(view.getBigInt64(at, true))]],
    [12, [8, (view, at) => view.getFloat64(at, true)]],
  ]);
const [U32, BOOL, U64] = [4, 7, 10];
const ALIGNMENT = 32;

/** @throws {RangeError} When it is no such file, or of a kind that this does not read */
export function readGguf(bytes: Uint8Array<ArrayBuffer>): Gguf {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const number = (kind: number): number => {
    const [size, read] = NUMBERS.get(kind) ?? unknownKind("a value", kind);
    at += size;
    return read(view, at - size);
  };
  const string = (): string => {
    const length = number(U64);
    at += length;
    return new TextDecoder().decode(bytes.subarray(at - length, at));
  };
  const value = (kind: number): GgufValue => {
    if (kind === STRING) return string();
    if (kind === BOOL) return number(kind) !== 0;
    if (kind !== ARRAY) return number(kind);
    const of = number(U32);
    return Array.from({ length: number(U64) }, () => value(of));
  };
  if (new TextDecoder().decode(bytes.subarray(0, 4)) !== "GGUF") throw new RangeError("This is no GGUF file");
  at = 4;
  const version = number(U32);
  if (version !== 2 && version !== 3) unknownKind("its format", version);
  const [tensorCount, valueCount] = [number(U64), number(U64)];
  const metadata = new Map(Array.from({ length: valueCount }, () => [string(), value(number(U32))] as const));
  const found = Array.from({ length: tensorCount }, () => {
    const name = string();
    const shape = Array.from({ length: number(U32) }, () => number(U64)).toReversed();
    return { name, shape, type: number(U32), start: number(U64) };
  });
  const alignment = Number(metadata.get("general.alignment") ?? ALIGNMENT);
  const data = Math.ceil(at / alignment) * alignment;
  return { metadata, tensors: found.map((one) => ({ ...one, start: data + one.start })), bytes };
}

function unknownKind(what: string, kind: number): never {
  throw new RangeError(`${what} of the GGUF file is of kind ${kind}, which is not read here`);
}

/** Elements of a block of each quantised type, its bytes, and what makes floats of it (ggml's `dequantize_row_*`). */
interface BlockType {
  readonly elements: number;
  readonly bytes: number;
  readonly read: (view: DataView, at: number, out: Float32Array, to: number) => void;
}

const half = (view: DataView, at: number) => f16ToFloat(view.getUint16(at, true));
const TYPES: ReadonlyMap<number, BlockType> = new Map([
  [0, { elements: 1, bytes: 4, read: (view, at, out, to) => out[to] = view.getFloat32(at, true) }],
  [1, { elements: 1, bytes: 2, read: (view, at, out, to) => out[to] = half(view, at) }],
  // Q4_1: d, m, then 32 nibbles, low ones first: d q + m
  [3, {
    elements: 32,
    bytes: 20,
    read(view, at, out, to) {
      const [d, m] = [half(view, at), half(view, at + 2)];
      for (let i = 0; i < 16; i++) {
        const both = view.getUint8(at + 4 + i);
        out[to + i] = d * (both & 15) + m;
        out[to + 16 + i] = d * (both >> 4) + m;
      }
    },
  }],
  // Q8_0: d, then 32 bytes: d q
  [8, {
    elements: 32,
    bytes: 34,
    read(view, at, out, to) {
      const d = half(view, at);
      for (let i = 0; i < 32; i++) out[to + i] = d * view.getInt8(at + 2 + i);
    },
  }],
]);

/** The elements of a tensor as f32. @throws {RangeError} When it is of a type that this does not read */
export function ggufFloats(
  { bytes }: Gguf,
  { name, shape, type, start }: GgufTensor,
): Float32Array<ArrayBuffer> {
  const block = TYPES.get(type) ?? unknownKind(`tensor ${name}`, type);
  const out = new Float32Array(shape.reduce((product, size) => product * size, 1));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let to = 0, at = start; to < out.length; to += block.elements, at += block.bytes) {
    block.read(view, at, out, to);
  }
  return out;
}
