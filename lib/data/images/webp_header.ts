// SPDX-License-Identifier: Apache-2.0
/** What a WebP says of its picture. */
import { CUT_SHORT, type FoundHeader, textAt } from "./header_bytes.ts";
import { type ExifSource, orientationOf } from "./exif.ts";
import { ImageError, type Size } from "./image.ts";

/** In the flags of an extended file. */
const ANIMATION = 0x02;

/** Walks all chunks: (name, length, data, padded to an even number of bytes), in a RIFF of its length. */
export function readWebp(view: DataView): FoundHeader {
  if (view.byteLength < 12) throw new ImageError(CUT_SHORT);
  const end = 8 + view.getUint32(4, true);
  if (end > view.byteLength) throw new ImageError(CUT_SHORT);
  let size: Size | null = null;
  let exif: ExifSource | null = null;
  for (let at = 12; at + 8 <= end;) {
    const [name, length] = [textAt(view, at, 4), view.getUint32(at + 4, true)];
    if (at + 8 + length > end) throw new ImageError(CUT_SHORT);
    size ??= sizeIn(view, name, at + 8, length);
    if (name === "EXIF") exif = exifIn(view, at + 8, length);
    at += 8 + length + length % 2;
  }
  if (size === null) throw new ImageError("it is a WebP without data");
  return { ...size, orientation: orientationOf(exif) };
}

/** Some writers put before it what JPEG has. */
function exifIn(view: DataView, at: number, length: number): ExifSource {
  const start = textAt(view, at, 6) === "Exif\0\0" ? at + 6 : at;
  return { view, start, end: at + length };
}

/** The size that a chunk of the picture, or the one before all others, begins with. */
function sizeIn(view: DataView, name: string, at: number, length: number): Size | null {
  if (length < 10) return name === "VP8L" && length >= 5 ? losslessSize(view, at) : null;
  if (name === "VP8 ") {
    // A frame's tag of 3 bytes and its mark of 3.
    return { width: view.getUint16(at + 6, true) & 0x3fff, height: view.getUint16(at + 8, true) & 0x3fff };
  }
  if (name === "VP8L") return losslessSize(view, at);
  if (name !== "VP8X") return null;
  if ((view.getUint8(at) & ANIMATION) !== 0) {
    throw new ImageError("it is a WebP that moves; one picture is read");
  }
  return {
    width: 1 + (view.getUint32(at + 3, true) >>> 8),
    height: 1 + (view.getUint32(at + 6, true) >>> 8),
  };
}

/** 14 bits each, behind a byte that marks the format. */
function losslessSize(view: DataView, at: number): Size {
  const bits = view.getUint32(at + 1, true);
  return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
}
