// SPDX-License-Identifier: Apache-2.0
/** What a PNG says of its picture. */
import { CUT_SHORT, type FoundHeader, textAt } from "./header_bytes.ts";
import { type ExifSource, orientationOf } from "./exif.ts";
import { ImageError, type Size } from "./image.ts";

/** Walks all chunks: (length, name, data, checksum) each, from IHDR to IEND. */
export function readPng(view: DataView): FoundHeader {
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
  return { ...header, orientation: orientationOf(exif) };
}

function readPngHeader(view: DataView, at: number): Size {
  const [depth, colour] = [view.getUint8(at + 8), view.getUint8(at + 9)];
  if (depth === 16 && colour === 0) {
    // Pillow cuts all above 255 off; dividing by 256 would be another picture than it gives.
    throw new ImageError("it is grey with 16 bits a pixel, which is not read; save it with 8");
  }
  return { width: view.getUint32(at), height: view.getUint32(at + 4) };
}
