// SPDX-License-Identifier: Apache-2.0
/** An image file into a picture as it is to be seen. */
import { type Decoder, decoderOf, type RgbaImage } from "./codecs.ts";
import { upright } from "./exif.ts";
import { type ImageFormat, readHeader } from "./header.ts";
import { emptyImage, type Image, ImageError } from "./image.ts";

/** Bytes of an image file at most. */
export const MOST_IMAGE_BYTES = 256 * 2 ** 20;

/** Decoders of the formats that are there. */
export type Decoders = Readonly<Record<ImageFormat, Decoder>>;

/** Opens all decoders, so that pictures can be read without waiting. */
export async function openDecoders(): Promise<Decoders> {
  const [PNG, JPEG, WebP] = await Promise.all([decoderOf("PNG"), decoderOf("JPEG"), decoderOf("WebP")]);
  return { PNG, JPEG, WebP };
}

/**
 * Decodes a picture, turned as its EXIF says, as Pillow does by `convert("RGB")` or `convert("L")`: what is opaque or not
 * keeps its colour.
 *
 * @throws {ImageError} When it cannot be read; before memory is taken where its header tells
 */
export function readImage(bytes: Uint8Array, channels: Image["channels"], decoders: Decoders): Image {
  const header = readHeader(bytes);
  const decoded = decoders[header.format](bytes);
  if (decoded.width !== header.width || decoded.height !== header.height) {
    throw new ImageError(
      `its header says ${header.width} x ${header.height} pixels, its data ${decoded.width} x ${decoded.height}`,
    );
  }
  return upright(channels === 3 ? toColour(decoded) : toGrey(decoded), header.orientation);
}

function toColour({ width, height, data }: RgbaImage): Image {
  const image = emptyImage(width, height, 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    image.data[to++] = data[from] as number;
    image.data[to++] = data[from + 1] as number;
    image.data[to++] = data[from + 2] as number;
  }
  return image;
}

/** Brightness by ITU-R 601-2, in Pillow's whole numbers: (19595 R + 38470 G + 7471 B + 2^15) / 2^16. */
function toGrey({ width, height, data }: RgbaImage): Image {
  const image = emptyImage(width, height, 1);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const [red, green, blue] = [data[from] as number, data[from + 1] as number, data[from + 2] as number];
    image.data[to++] = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;
  }
  return image;
}
