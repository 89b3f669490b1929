// SPDX-License-Identifier: Apache-2.0
/**
 * What a file says of its picture before anything is decoded: format by its first bytes (its name says nothing), size, and
 * whether all of it is there. Everything hostile is refused here, where it has cost no memory.
 */
import { type ExifSource, orientationOf } from "./exif.ts";
import { ImageError, type Size } from "./image.ts";

/** Formats that are read. */
export type ImageFormat = "JPEG" | "PNG";

/** What is known of a picture that was not decoded. */
export interface ImageHeader extends Size {
  readonly format: ImageFormat;
  /** Of EXIF, 1 to 8: how it is to be turned before it is shown. */
  readonly orientation: number;
}

/** Pixels of a picture at most: 8192 x 8192, some 256 MiB while it is decoded. */
export const MOST_PIXELS = 2 ** 26;

const PNG_MARK = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const JPEG_MARK = [0xff, 0xd8, 0xff];

/** First bytes of formats that people try and that are not read. */
const OTHER_FORMATS: readonly (readonly [mark: string, at: number, name: string])[] = [
  ["GIF8", 0, "a GIF"],
  ["BM", 0, "a BMP"],
  ["WEBP", 8, "a WebP"],
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
 * @throws {ImageError} When it is no PNG or JPEG, is cut short, has more than {@linkcode MOST_PIXELS}, or is of a kind that is
 *   not read
 */
export function readHeader(bytes: Uint8Array): ImageHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = startsWith(bytes, PNG_MARK)
    ? readPng(view)
    : startsWith(bytes, JPEG_MARK)
    ? readJpeg(view)
    : null;
  if (found === null) throw new ImageError(`it is ${formatName(bytes)}; PNG and JPEG are read`);
  const { width, height } = found;
  if (width < 1 || height < 1) throw new ImageError(`it has ${width} x ${height} pixels, which is nothing`);
  if (width * height > MOST_PIXELS) {
    throw new ImageError(
      `it has ${width} x ${height} pixels, more than the ${MOST_PIXELS} allowed; make it smaller`,
    );
  }
  return found;
}

function startsWith(bytes: Uint8Array, mark: readonly number[]): boolean {
  return mark.every((byte, i) => bytes[i] === byte);
}

function formatName(bytes: Uint8Array): string {
  if (bytes.length === 0) return "empty";
  const text = String.fromCharCode(...bytes.subarray(0, 16));
  const other = OTHER_FORMATS.find(([mark, at]) => text.startsWith(mark, at));
  return other === undefined ? "no picture" : other[2];
}

const CUT_SHORT = "it is cut short";

/** Walks all chunks: (length, name, data, checksum) each, from IHDR to IEND. */
function readPng(view: DataView): ImageHeader {
  let header: Size | null = null;
  let exif: ExifSource | null = null;
  let hasData = false;
  for (let at = 8;;) {
    if (at + 12 > view.byteLength) throw new ImageError(CUT_SHORT);
    const [length, name] = [view.getUint32(at), textAt(view, at + 4, 4)];
    if (at + 12 + length > view.byteLength) throw new ImageError(CUT_SHORT);
    if (header === null) {
      if (name !== "IHDR" || length !== 13) throw new ImageError("it is a PNG without a header");
      header = readPngHeader(view, at + 8);
    }
    if (name === "IDAT") hasData = true;
    if (name === "eXIf") exif = { view, start: at + 8, end: at + 8 + length };
    if (name === "IEND") break;
    at += 12 + length;
  }
  if (!hasData) throw new ImageError("it is a PNG without data");
  return { format: "PNG", ...header, orientation: orientationOf(exif) };
}

function readPngHeader(view: DataView, at: number): Size {
  const [depth, colour] = [view.getUint8(at + 8), view.getUint8(at + 9)];
  if (depth === 16 && colour === 0) {
    // Pillow cuts all above 255 off; dividing by 256 would be another picture than it gives.
    throw new ImageError("it is grey with 16 bits a pixel, which is not read; save it with 8");
  }
  return { width: view.getUint32(at), height: view.getUint32(at + 4) };
}

/** Frames of JPEG that libjpeg decodes: baseline, extended, progressive. Others are lossless, hierarchical, arithmetic. */
const DECODED_FRAMES = new Set([0xc0, 0xc1, 0xc2]);
/** In the range of frames without being one: tables of Huffman codes, an extension, arithmetic conditioning. */
const NO_FRAMES = new Set([0xc4, 0xc8, 0xcc]);
/** Markers that stand alone: TEM, RST0 to RST7, SOI. */
const isBare = (marker: number): boolean => marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);

/** Walks the segments before the first scan: 0xff, marker, length (its own two bytes among it), data. */
function readJpeg(view: DataView): ImageHeader {
  let frame: Size | null = null;
  let exif: ExifSource | null = null;
  for (let at = 2;;) {
    if (at + 4 > view.byteLength) throw new ImageError(CUT_SHORT);
    if (view.getUint8(at) !== 0xff) {
      at++; // libjpeg passes over what stands between segments, too
      continue;
    }
    const marker = view.getUint8(at + 1);
    if (marker === 0xff || marker === 0 || isBare(marker)) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    if (marker === 0xd9) throw new ImageError("it is a JPEG without data");
    const length = view.getUint16(at + 2);
    if (at + 2 + length > view.byteLength) throw new ImageError(CUT_SHORT);
    if (marker === 0xe1 && textAt(view, at + 4, 6) === "Exif\0\0") {
      exif ??= { view, start: at + 10, end: at + 2 + length };
    }
    if (marker >= 0xc0 && marker <= 0xcf && !NO_FRAMES.has(marker)) {
      frame = readFrame(view, at, marker);
    }
    if (marker === 0xda) break;
    at += 2 + length;
  }
  if (frame === null) throw new ImageError("it is a JPEG without a header");
  return { format: "JPEG", ...frame, orientation: orientationOf(exif) };
}

/** (length, precision, height, width, components). */
function readFrame(view: DataView, at: number, marker: number): Size {
  if (!DECODED_FRAMES.has(marker)) {
    throw new ImageError("it is a JPEG of a kind that is not read (lossless, hierarchical or arithmetic)");
  }
  if (at + 10 > view.byteLength) throw new ImageError(CUT_SHORT);
  const [precision, components] = [view.getUint8(at + 4), view.getUint8(at + 9)];
  if (precision !== 8) {
    throw new ImageError(`it is a JPEG with ${precision} bits a channel, which is not read; save it with 8`);
  }
  if (components !== 1 && components !== 3) {
    throw new ImageError(
      `it is a JPEG with ${components} channels (CMYK), which is not read; save it as RGB`,
    );
  }
  return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
}

/** Bytes as Latin-1; shorter where they end. */
function textAt(view: DataView, at: number, length: number): string {
  const end = Math.min(at + length, view.byteLength);
  return String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, Math.max(0, end - at)));
}
