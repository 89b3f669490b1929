// SPDX-License-Identifier: Apache-2.0
/** A picture in memory, and what is wrong with one that cannot be read. */

/** Eight bits a channel. */
export interface Image {
  readonly width: number;
  readonly height: number;
  /** Red, green and blue, or grey alone. */
  readonly channels: 1 | 3;
  /** (height,width,channels), rows from the top. */
  readonly data: Uint8Array;
}

/** Why bytes are no picture that can be read: a sentence without the file's name. */
export class ImageError extends Error {
  override readonly name = "ImageError";
}

/** Rows and columns. */
export interface Size {
  readonly height: number;
  readonly width: number;
}

/** A picture of nothing but zeros. */
export function emptyImage(width: number, height: number, channels: Image["channels"]): Image {
  return { width, height, channels, data: new Uint8Array(width * height * channels) };
}
