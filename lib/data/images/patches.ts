// SPDX-License-Identifier: Apache-2.0
/** Pictures cut into the patches that a vision model takes for words. */
import type { Image, Size } from "./image.ts";

/** What a model takes of a picture: patches of its pixels, row by row. */
export interface PatchShape {
  readonly channels: Image["channels"];
  /** Of all pictures. */
  readonly image: Size;
  readonly patch: Size;
}

/** Patches down and across. What is left at the right and below is seen by no patch. */
function patchGrid({ image, patch }: Pick<PatchShape, "image" | "patch">): Size {
  return {
    height: Math.floor(image.height / patch.height),
    width: Math.floor(image.width / patch.width),
  };
}

/** Patches of a picture. */
export function patchCount(shape: Pick<PatchShape, "image" | "patch">): number {
  const { height, width } = patchGrid(shape);
  return height * width;
}

/** Numbers of a patch, C*P*P. */
export function patchNumbers({ channels, patch }: Pick<PatchShape, "channels" | "patch">): number {
  return channels * patch.height * patch.width;
}

/**
 * Writes the pixels of a picture as rows of patches: channel before row before column in each, as the weight (D,C,P,P) of a
 * convolution with stride P has them.
 *
 * @param rows (patches, C*P*P) f32, written     @param values (C,256) f32: the number of each level
 */
export function patchesInto(rows: Float32Array, image: Image, values: Float32Array, patch: Size): void {
  const { channels, width, data } = image;
  const grid = patchGrid({ image, patch });
  let to = 0;
  for (let i = 0; i < grid.height; i++) {
    for (let j = 0; j < grid.width; j++) {
      for (let c = 0; c < channels; c++) {
        for (let y = i * patch.height; y < (i + 1) * patch.height; y++) {
          let from = (y * width + j * patch.width) * channels + c;
          for (let x = 0; x < patch.width; x++, from += channels) {
            rows[to++] = values[c << 8 | data[from] as number] as number;
          }
        }
      }
    }
  }
}
