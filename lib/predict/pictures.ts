// SPDX-License-Identifier: Apache-2.0
/** What decoding the pictures of a data set takes, beside everything that a run holds. */
import { type Dataset, exampleCount } from "../data/dataset.ts";

/**
 * Bytes for each pixel of the largest picture: what the decoder gives and its copies by channel and width. Measured over 24
 * pictures: 28 to 32 with PNG, JPEG and WebP of 1 to 12 million pixels.
 */
const BYTES_PER_PIXEL = 29.4;

/** Of pictures before that one, which V8 lets go once arrays outside of its heap have grown by so much. */
const MOST_LEFT_BYTES = 32 * 2 ** 20;

/** The most that decoded pictures add to a process. @param data Data sets that a run reads from, null for none */
export function decodedPictureBytes(data: readonly (Dataset | null | undefined)[]): number {
  const sets = data.flatMap((set) => set?.pictures ? [{ count: exampleCount(set), ...set.pictures }] : []);
  const largest = sets.reduce((most, { mostPixels }) => Math.max(most, mostPixels), 0);
  const all = sets.reduce((sum, { count, mostPixels }) => sum + count * mostPixels, 0);
  return BYTES_PER_PIXEL * largest + Math.min(MOST_LEFT_BYTES, BYTES_PER_PIXEL * Math.max(0, all - largest));
}
