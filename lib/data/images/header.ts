// SPDX-License-Identifier: Apache-2.0
/**
 * What a file says of its picture before anything is decoded: format by its first bytes (its name says nothing), size, and
 * whether all of it is there. Everything hostile is refused here, where it has cost no memory.
 */
import type { FoundHeader } from "./header_bytes.ts";
import { ImageError } from "./image.ts";
import { readJpeg } from "./jpeg_header.ts";
import { readPng } from "./png_header.ts";
import { readWebp } from "./webp_header.ts";

/** Formats that are read. */
export type ImageFormat = "JPEG" | "PNG" | "WebP";

/** What is known of a picture that was not decoded. */
export interface ImageHeader extends FoundHeader {
  readonly format: ImageFormat;
}

/** Pixels of a picture at most: 8192 x 8192, some GiB while it is decoded. */
export const MOST_PIXELS = 2 ** 26;

/** First bytes of each format, and how its header is read. */
const FORMATS: readonly {
  readonly format: ImageFormat;
  readonly marks: readonly (readonly [mark: string, at: number])[];
  readonly read: (view: DataView) => FoundHeader;
}[] = [
  { format: "PNG", marks: [["\x89PNG\r\n\x1a\n", 0]], read: readPng },
  { format: "JPEG", marks: [["\xff\xd8\xff", 0]], read: readJpeg },
  { format: "WebP", marks: [["RIFF", 0], ["WEBP", 8]], read: readWebp },
];

/** First bytes of formats that people try and that are not read. */
const OTHER_FORMATS: readonly (readonly [mark: string, at: number, name: string])[] = [
  ["GIF8", 0, "a GIF"],
  ["BM", 0, "a BMP"],
  ["II*\0", 0, "a TIFF"],
  ["MM\0*", 0, "a TIFF"],
  ["ftypavif", 4, "an AVIF"],
  ["ftyphei", 4, "a HEIF"],
  ["<svg", 0, "an SVG"],
  ["PK\x03\x04", 0, "a ZIP archive"],
];

/**
 * Looks at a picture without decoding it.
 *
 * @throws {ImageError} When it is no PNG, JPEG or WebP, is cut short, has more than {@linkcode MOST_PIXELS}, or is of a kind that is
 *   not read
 */
export function readHeader(bytes: Uint8Array): ImageHeader {
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  const found = FORMATS.find(({ marks }) => marks.every(([mark, at]) => start.startsWith(mark, at)));
  if (found === undefined) throw new ImageError(`it is ${formatName(start)}; PNG, JPEG and WebP are read`);
  const header = found.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  const { width, height } = header;
  if (width < 1 || height < 1) throw new ImageError(`it has ${width} x ${height} pixels, which is nothing`);
  if (width * height > MOST_PIXELS) {
    throw new ImageError(
      `it has ${width} x ${height} pixels, more than the ${MOST_PIXELS} allowed; make it smaller`,
    );
  }
  return { format: found.format, ...header };
}

function formatName(start: string): string {
  if (start === "") return "empty";
  const other = OTHER_FORMATS.find(([mark, at]) => start.startsWith(mark, at));
  return other === undefined ? "no picture" : other[2];
}
