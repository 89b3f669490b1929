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
