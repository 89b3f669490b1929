// SPDX-License-Identifier: Apache-2.0
/** What a JPEG says of its picture. */
import { CUT_SHORT, type FoundHeader, textAt } from "./header_bytes.ts";
import { type ExifSource, orientationOf } from "./exif.ts";
import { ImageError, type Size } from "./image.ts";

/** Frames of JPEG that libjpeg decodes: baseline, extended, progressive. Others are lossless, hierarchical, arithmetic. */
const DECODED_FRAMES = new Set([0xc0, 0xc1, 0xc2]);
/** In the range of frames without being one: tables of Huffman codes, an extension, arithmetic conditioning. */
const NO_FRAMES = new Set([0xc4, 0xc8, 0xcc]);
/** Markers that stand alone: TEM, RST0 to RST7, SOI. */
const isBare = (marker: number): boolean => marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);

/** Walks the segments before the first scan: 0xff, marker, length (its own two bytes among it), data. */
export function readJpeg(view: DataView): FoundHeader {
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
  return { ...frame, orientation: orientationOf(exif) };
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
