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

/** Half of the last bit that is kept, and so what sums begin with. */
const HALF = 1 << (PRECISION - 1);

function resizeRows(image: Image, width: number, kernel: Kernel): Image {
  const out = emptyImage(width, image.height, image.channels);
  const taps = filterTaps(image.width, width, kernel);
  const { channels } = image;
  for (let y = 0; y < image.height; y++) {
    const [from, to] = [y * image.width * channels, y * width * channels];
    if (channels === 3) resizeColourRow(out.data, to, image.data, from, taps);
    else resizeGreyRow(out.data, to, image.data, from, taps);
  }
  return out;
}

/** @mutates out */
function resizeGreyRow(out: Uint8Array, to: number, data: Uint8Array, from: number, taps: Taps): void {
  const { first, count, weights, width } = taps;
  for (let x = 0; x < first.length; x++) {
    const [start, end] = [x * width, x * width + (count[x] as number)];
    let sum = HALF;
    for (let tap = start, at = from + (first[x] as number); tap < end; tap++, at++) {
      sum += (data[at] as number) * (weights[tap] as number);
    }
    out[to + x] = levelOf(sum);
  }
}

/** @mutates out */
function resizeColourRow(out: Uint8Array, to: number, data: Uint8Array, from: number, taps: Taps): void {
  const { first, count, weights, width } = taps;
  for (let x = 0, o = to; x < first.length; x++, o += 3) {
    const [start, end] = [x * width, x * width + (count[x] as number)];
    let [red, green, blue] = [HALF, HALF, HALF];
    for (let tap = start, at = from + 3 * (first[x] as number); tap < end; tap++, at += 3) {
      const weight = weights[tap] as number;
      red += (data[at] as number) * weight;
      green += (data[at + 1] as number) * weight;
      blue += (data[at + 2] as number) * weight;
    }
    out[o] = levelOf(red);
    out[o + 1] = levelOf(green);
    out[o + 2] = levelOf(blue);
  }
}

/** Row by row of the input, so that memory is read in order. */
function resizeColumns(image: Image, height: number, kernel: Kernel): Image {
  const out = emptyImage(image.width, height, image.channels);
  const { first, count, weights, width } = filterTaps(image.height, height, kernel);
  const stride = image.width * image.channels;
  const sums = new Int32Array(stride);
  for (let y = 0; y < height; y++) {
    sums.fill(HALF);
    for (let tap = 0; tap < (count[y] as number); tap++) {
      const weight = weights[y * width + tap] as number;
      const from = ((first[y] as number) + tap) * stride;
      for (let x = 0; x < stride; x++) {
        sums[x] = (sums[x] as number) + (image.data[from + x] as number) * weight;
      }
    }
    for (let x = 0; x < stride; x++) out.data[y * stride + x] = levelOf(sums[x] as number);
  }
  return out;
}

/** A sum rounded and kept within 8 bits. */
function levelOf(sum: number): number {
  const level = sum >> PRECISION;
  return level < 0 ? 0 : level > 255 ? 255 : level;
}
