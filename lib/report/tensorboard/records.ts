// SPDX-License-Identifier: Apache-2.0
/**
 * TensorBoard's event files, byte by byte: records of `Event` messages with numbers in them. (Own code: a library
 * of protocol buffers would need generated code, and itself at run time, for the five fields that are written here.)
 *
 * A record is: length (u64), masked CRC-32C of the length (u32), the message, masked CRC-32C of the message (u32), all
 * little-endian. The fields are those of tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
 */

/** A number under a name. */
export interface Scalar {
  readonly tag: string;
  readonly value: number;
}

/** What stands first in every event file. */
export function versionRecord(seconds: number): Uint8Array {
  return record([double(1, seconds), lengthDelimited(3, [encoder.encode("brain.Event:2")])]);
}

/**
 * The numbers of one step.
 *
 * @param seconds Since 1970     @param step A whole number from 0
 */
export function scalarRecord(seconds: number, step: number, scalars: readonly Scalar[]): Uint8Array {
  const summary = scalars.map(({ tag, value }) =>
    lengthDelimited(1, [lengthDelimited(1, [encoder.encode(tag)]), float(2, value)])
  );
  return record([double(1, seconds), varint(2, step), lengthDelimited(5, summary)]);
}

/** Says that a run starts at a step, or restarts there: what older files have of it and of later ones is void. */
export function startRecord(seconds: number, step: number): Uint8Array {
  const START = 1;
  return record([double(1, seconds), varint(2, step), lengthDelimited(7, [varint(1, START)])]);
}

/** Step of the last record of a file, given its last bytes; null when that is damaged, or of no step. */
export function lastStep(bytes: Uint8Array): number | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = bytes.length - FRAME_BYTES; at >= 0; at--) {
    const length = bytes.length - at - FRAME_BYTES;
    if (view.getUint32(at, true) !== length || view.getUint32(at + 4, true) !== 0) continue;
    if (view.getUint32(at + 8, true) !== maskedCrc(bytes.subarray(at, at + 8))) continue;
    const message = bytes.subarray(at + 12, at + 12 + length);
    const isWhole = view.getUint32(at + 12 + length, true) === maskedCrc(message);
    return isWhole && message[DOUBLE_BYTES] === key(2, 0)[0] ? readBase128(message, DOUBLE_BYTES + 1) : null;
  }
  return null;
}

/** Of a record beside its message, and of a field of eight bytes. */
const [FRAME_BYTES, DOUBLE_BYTES] = [16, 9];

const encoder = new TextEncoder();

/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78) of bytes. */
export function crc32c(bytes: ArrayLike<number>): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) {
    crc = (CRC_TABLE[(crc ^ (bytes[i] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** Rotated and shifted, because a CRC of bytes that hold their own CRC says little. */
function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function record(fields: readonly Bytes[]): Uint8Array {
  const message = Uint8Array.from(concat(fields));
  const bytes = new Uint8Array(8 + 4 + message.length + 4);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(message.length), true);
  view.setUint32(8, maskedCrc(bytes.subarray(0, 8)), true);
  bytes.set(message, 12);
  view.setUint32(12 + message.length, maskedCrc(message), true);
  return bytes;
}

/** Pieces one after the other. */
export function joinBytes(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** A field's number and wire type: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
function key(field: number, wireType: 0 | 1 | 2 | 5): number[] {
  return base128(field << 3 | wireType);
}

/** Seven bits a byte, the lowest first. Division, because steps may not fit into 32 bits. */
function base128(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(rest % 128 | 128);
  return [...bytes, rest];
}

function readBase128(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = at, scale = 1; i < bytes.length; i++, scale *= 128) {
    const byte = bytes[i] as number;
    value += byte % 128 * scale;
    if (byte < 128) break;
  }
  return value;
}

function varint(field: number, value: number): Bytes {
  return concat([key(field, 0), base128(value)]);
}

function lengthDelimited(field: number, pieces: readonly Bytes[]): Bytes {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  return concat([key(field, 2), base128(length), ...pieces]);
}

function double(field: number, value: number): Bytes {
  scratch.setFloat64(0, value, true);
  return concat([key(field, 1), scratchBytes]);
}

function float(field: number, value: number): Bytes {
  scratch.setFloat32(0, value, true);
  return concat([key(field, 5), scratchHalf]);
}

/** Plain arrays: of a few bytes, they are made faster than typed ones. */
type Bytes = ArrayLike<number>;

const scratchBytes = new Uint8Array(8);
const scratchHalf = scratchBytes.subarray(0, 4);
const scratch = new DataView(scratchBytes.buffer);

function concat(pieces: readonly Bytes[]): number[] {
  const bytes: number[] = [];
  for (const piece of pieces) {
    for (let i = 0; i < piece.length; i++) bytes.push(piece[i] as number);
  }
  return bytes;
}
