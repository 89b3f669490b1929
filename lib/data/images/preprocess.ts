// SPDX-License-Identifier: Apache-2.0
/** Pictures into what a vision model is given: resized, cropped, rescaled and normalised. */
import { emptyImage, type Image, ImageError, type Size } from "./image.ts";
import type { ImageProcessor } from "./processor.ts";
import { resize } from "./resize.ts";

/**
 * The pixels of a picture as transformers' `ViTImageProcessor` and `DeiTImageProcessor` give them.
 *
 * @returns Levels and what each is as a number: (channels,256) f32
 * @throws {ImageError} When the shorter edge of a long picture leaves the other too long
 */
export function preprocess(image: Image, processor: ImageProcessor): { image: Image; values: Float32Array } {
  const resized = processor.resize === null
    ? image
    : resize(image, resizedSize(image, processor.resize.to), processor.resize.filter);
  const cropped = processor.centerCrop === null ? resized : centerCrop(resized, processor.centerCrop);
  return { image: cropped, values: levelValues(processor, image.channels) };
}

/** Of the longer edge after resizing by the shorter. */
const MOST_EDGE = 65_536;

function resizedSize(image: Size, to: Size | { readonly shortestEdge: number }): Size {
  if ("height" in to) return to;
  const [short, long] = image.width <= image.height
    ? [image.width, image.height]
    : [image.height, image.width];
  const longer = Math.trunc(to.shortestEdge * long / short);
  if (longer > MOST_EDGE) {
    throw new ImageError(
      `it has ${image.width} x ${image.height} pixels, which with a shortest edge of ${to.shortestEdge} is too long`,
    );
  }
  return image.width <= image.height
    ? { height: longer, width: to.shortestEdge }
    : { height: to.shortestEdge, width: longer };
}

/** The middle of a picture; where it is smaller it lies in the middle of black, and what does not divide is after it. */
function centerCrop(image: Image, { height, width }: Size): Image {
  const { channels } = image;
  const [top, left] = [cropStart(image.height, height), cropStart(image.width, width)];
  const out = emptyImage(width, height, channels);
  const columns = Math.min(width, image.width);
  for (let y = Math.max(0, -top); y < height && y + top < image.height; y++) {
    const from = ((y + top) * image.width + Math.max(0, left)) * channels;
    const to = (y * width + Math.max(0, -left)) * channels;
    out.data.set(image.data.subarray(from, from + columns * channels), to);
  }
  return out;
}

/** Where a crop begins; negative where it begins before the picture. */
function cropStart(length: number, cropped: number): number {
  return Math.trunc((length - cropped) / 2);
}

/** (channels,256) f32 what each level becomes: rounded after each step, as NumPy does. */
function levelValues({ rescale, normalize }: ImageProcessor, channels: Image["channels"]): Float32Array {
  const values = new Float32Array(channels * 256);
  for (let at = 0; at < values.length; at++) {
    const [channel, level] = [at >> 8, at & 255];
    values[at] = level * (rescale ?? 1);
    if (normalize === null) continue;
    const centred = Math.fround((values[at] as number) - Math.fround(ofChannel(normalize.mean, channel)));
    values[at] = centred / Math.fround(ofChannel(normalize.std, channel));
  }
  return values;
}

function ofChannel(values: readonly number[], channel: number): number {
  return (values.length === 1 ? values[0] : values[channel]) as number;
}
