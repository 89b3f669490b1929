// SPDX-License-Identifier: Apache-2.0
/** Picture files, and what Pillow and transformers made of them; see scripts/fixtures/make_images.py. */
import { openDecoders, readImage } from "../../../../lib/data/images/read_image.ts";
import { type Image, ImageError } from "../../../../lib/data/images/image.ts";

const FOLDER = new URL("../../../fixtures/images/", import.meta.url);

/** A picture file: bytes and pixels as base64. */
export interface DecodedFile {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  readonly bytes: string;
  readonly colour: string;
  readonly grey: string;
}

/** The records of a fixture. */
export function fixture<T>(name: string): T[] {
  return JSON.parse(Deno.readTextFileSync(new URL(`${name}.json`, FOLDER)));
}

/** Bytes of base64. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromBase64(text);
}

/** A picture of the fixtures by name. */
export function fileOf(name: string): Uint8Array<ArrayBuffer> {
  const file = fixture<DecodedFile>("decoded").find((file) => file.name === name);
  if (file === undefined) throw new Error(`There is no ${name} in decoded.json`);
  return bytesOf(file.bytes);
}

/** Opened once for all tests. */
export const DECODERS = await openDecoders();

/** Why bytes are no picture; null where they are one. @throws Whatever is no {@linkcode ImageError} */
export function refusal(bytes: Uint8Array, channels: Image["channels"] = 3): string | null {
  try {
    readImage(bytes, channels, DECODERS);
    return null;
  } catch (error) {
    if (error instanceof ImageError) return error.message;
    throw error;
  }
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** A chunk of a PNG: length, name, data, checksum. */
export function pngChunk(name: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(data, 8);
  let crc = 0xffffffff;
  for (const byte of bytes.subarray(4, 8 + data.length)) {
    crc = (CRC[(crc ^ byte) & 255] as number) ^ (crc >>> 8);
  }
  view.setUint32(8 + data.length, ~crc >>> 0);
  return bytes;
}

/** A PNG of chunks after its header. */
export function pngOf(
  { width, height, depth = 8, colour = 2 }: {
    width: number;
    height: number;
    depth?: number;
    colour?: number;
  },
  chunks: readonly Uint8Array[],
): Uint8Array {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([depth, colour], 8);
  const parts = [
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    pngChunk("IHDR", header),
    ...chunks,
    pngChunk("IEND", new Uint8Array()),
  ];
  return joined(parts);
}

/** Bytes one after the other. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
