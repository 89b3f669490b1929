// SPDX-License-Identifier: Apache-2.0
/**
 * Pictures of another size, as Pillow computes them (`Resample.c`): each output pixel is a weighted mean of the input pixels
 * that its filter covers, widened when a picture gets smaller, which is what others call antialiasing. Weights are whole
 * numbers of 22 bits, and each of the two passes rounds to 8 bits: the same picture to the bit.
 */
import { emptyImage, type Image, type Size } from "./image.ts";

/** Filters by the numbers that `preprocessor_config.json` has for them. */
export const FILTERS = ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] as const;

/** A way to make pixels of pixels. */
export type Filter = typeof FILTERS[number];

/** A filter's weight at a distance, 0 beyond its support. */
interface Kernel {
  readonly support: number;
  weight(x: number): number;
}

const sinc = (x: number): number => x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);

/** Keys' cubic convolution with a = -0.5. */
const CUBIC = -0.5;

const KERNELS: Readonly<Record<Exclude<Filter, "nearest">, Kernel>> = {
  box: { support: 0.5, weight: (x) => Number(x > -0.5 && x <= 0.5) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight: (x) => Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)),
  },
  bicubic: {
    support: 2,
    weight(signed) {
      const x = Math.abs(signed);
      if (x < 1) return ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * CUBIC : 0;
    },
  },
  lanczos: { support: 3, weight: (x) => x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0 },
};

/** Bits of a weight behind the point: 32 but for 8 of a pixel and 2 for what negative weights overshoot. */
const PRECISION = 22;

/** For each output pixel the input pixels it is made of and their weights. */
interface Taps {
  /** (out) first input pixel. */
  readonly first: Int32Array;
  /** (out) how many. */
  readonly count: Int32Array;
  /** (out,width): whole numbers, 2^22 together. */
  readonly weights: Int32Array;
  /** Room for the weights of one output pixel. */
  readonly width: number;
}

/** A picture of the given size. */
export function resize(image: Image, size: Size, filter: Filter): Image {
  if (filter === "nearest") return resizeNearest(image, size);
  const kernel = KERNELS[filter];
  const passes = [
    (from: Image) => size.width === from.width ? from : resizeRows(from, size.width, kernel),
    (from: Image) => size.height === from.height ? from : resizeColumns(from, size.height, kernel),
  ];
  if (columnsFirst(image, size)) passes.reverse();
  return passes.reduce((made, pass) => pass(made), image);
}

/** Which pass Pillow 13 begins with: as both round, that shows in the last bit. Before 13 rows always came first. */
function columnsFirst(from: Size, to: Size): boolean {
  return to.height < from.height && from.height - to.height > 2 * (from.width - to.width);
}

function resizeNearest(image: Image, size: Size): Image {
  const out = emptyImage(size.width, size.height, image.channels);
  const columns = nearestSources(image.width, size.width);
  const rows = nearestSources(image.height, size.height);
  const { channels } = image;
  for (let y = 0, to = 0; y < size.height; y++) {
    for (let x = 0; x < size.width; x++) {
      const from = ((rows[y] as number) * image.width + (columns[x] as number)) * channels;
      for (let c = 0; c < channels; c++) out.data[to++] = image.data[from + c] as number;
    }
  }
  return out;
}

/** The input pixel in which the middle of each output pixel lies, by steps added up as Pillow does. */
function nearestSources(from: number, to: number): Int32Array {
  const scale = from / to;
  let middle = scale * 0.5;
  return Int32Array.from({ length: to }, () => {
    const source = Math.trunc(middle);
    middle += scale;
    return Math.min(source, from - 1);
  });
}

function filterTaps(from: number, to: number, { support, weight }: Kernel): Taps {
  const scale = from / to;
  const widened = Math.max(scale, 1);
  const reach = support * widened;
  const width = Math.ceil(reach) * 2 + 1;
  const [first, count] = [new Int32Array(to), new Int32Array(to)];
  const weights = new Int32Array(to * width);
  for (let i = 0; i < to; i++) {
    const middle = (i + 0.5) * scale;
    const start = Math.max(Math.trunc(middle - reach + 0.5), 0);
    const end = Math.min(Math.trunc(middle + reach + 0.5), from);
    const exact = Array.from(
      { length: end - start },
      (_, x) => weight((x + start - middle + 0.5) * (1 / widened)),
    );
    const total = exact.reduce((sum, x) => sum + x, 0);
    exact.forEach((x, at) => {
      const scaled = (total === 0 ? x : x / total) * 2 ** PRECISION;
      weights[i * width + at] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    });
    [first[i], count[i]] = [start, end - start];
  }
  return { first, count, weights, width };
}

function resizeRows(image: Image, width: number, kernel: Kernel): Image {
  const out = emptyImage(width, image.height, image.channels);
  const taps = filterTaps(image.width, width, kernel);
  const { channels } = image;
  for (let y = 0, to = 0; y < image.height; y++) {
    const row = y * image.width * channels;
    for (let x = 0; x < width; x++) {
      const start = row + (taps.first[x] as number) * channels;
      for (let c = 0; c < channels; c++) {
        out.data[to++] = weightedMean(image.data, start + c, channels, taps, x);
      }
    }
  }
  return out;
}

function resizeColumns(image: Image, height: number, kernel: Kernel): Image {
  const out = emptyImage(image.width, height, image.channels);
  const taps = filterTaps(image.height, height, kernel);
  const stride = image.width * image.channels;
  for (let y = 0, to = 0; y < height; y++) {
    const start = (taps.first[y] as number) * stride;
    for (let x = 0; x < stride; x++) {
      out.data[to++] = weightedMean(image.data, start + x, stride, taps, y);
    }
  }
  return out;
}

/** Output pixel i of values that lie `stride` apart from `start` on, rounded and kept within 8 bits. */
function weightedMean(data: Uint8Array, start: number, stride: number, taps: Taps, i: number): number {
  let sum = 1 << (PRECISION - 1);
  const [from, count] = [i * taps.width, taps.count[i] as number];
  for (let tap = 0, at = start; tap < count; tap++, at += stride) {
    sum += (data[at] as number) * (taps.weights[from + tap] as number);
  }
  const rounded = sum >> PRECISION;
  return rounded < 0 ? 0 : rounded > 255 ? 255 : rounded;
}
