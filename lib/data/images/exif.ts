// SPDX-License-Identifier: Apache-2.0
/** How a camera was held: the orientation in EXIF, and pictures turned by it as Pillow's `exif_transpose` does. */
import type { Image } from "./image.ts";

/** Where EXIF stands in a file: a TIFF of its own. */
export interface ExifSource {
  readonly view: DataView;
  readonly start: number;
  readonly end: number;
}

const ORIENTATION_TAG = 0x0112;
/** TIFF's number of a 16-bit whole number. */
const SHORT = 3;

/** 1 to 8; 1, which is as it stands, where EXIF is missing, broken, or does not say. */
export function orientationOf(source: ExifSource | null): number {
  if (source === null || source.end - source.start < 8) return 1;
  const { view, start, end } = source;
  const order = view.getUint16(start);
  if (order !== 0x4949 && order !== 0x4d4d) return 1;
  const little = order === 0x4949;
  const folder = start + view.getUint32(start + 4, little);
  if (folder + 2 > end) return 1;
  const entries = view.getUint16(folder, little);
  for (let entry = folder + 2, i = 0; i < entries && entry + 12 <= end; i++, entry += 12) {
    if (view.getUint16(entry, little) !== ORIENTATION_TAG) continue;
    const value = view.getUint16(entry + 8, little);
    return view.getUint16(entry + 2, little) === SHORT && value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/** Whether pixels move along each axis before rows become columns, by orientation. */
const TURNS: Readonly<
  Record<number, { readonly flipX: boolean; readonly flipY: boolean; readonly swap: boolean }>
> = {
  2: { flipX: true, flipY: false, swap: false },
  3: { flipX: true, flipY: true, swap: false },
  4: { flipX: false, flipY: true, swap: false },
  5: { flipX: false, flipY: false, swap: true },
  6: { flipX: false, flipY: true, swap: true },
  7: { flipX: true, flipY: true, swap: true },
  8: { flipX: true, flipY: false, swap: true },
};

/** The picture as it is to be seen; itself where nothing is to be turned. */
export function upright(image: Image, orientation: number): Image {
  const turn = TURNS[orientation];
  if (turn === undefined) return image;
  const { width, height, channels, data } = image;
  const [outWidth, outHeight] = turn.swap ? [height, width] : [width, height];
  const out = new Uint8Array(data.length);
  for (let y = 0; y < outHeight; y++) {
    for (let x = 0; x < outWidth; x++) {
      const [fromX, fromY] = turn.swap ? [y, x] : [x, y];
      const column = turn.flipX ? width - 1 - fromX : fromX;
      const row = turn.flipY ? height - 1 - fromY : fromY;
      const [from, to] = [(row * width + column) * channels, (y * outWidth + x) * channels];
      for (let c = 0; c < channels; c++) out[to + c] = data[from + c] as number;
    }
  }
  return { width: outWidth, height: outHeight, channels, data: out };
}
