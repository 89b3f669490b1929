// SPDX-License-Identifier: Apache-2.0
/**
 * Rotary frequencies and tables: Su et al. 2021, with the scalings of Hugging Face transformers (linear, proportional, dynamic
 * NTK, llama3, yarn of Peng et al. 2023 and longrope of Ding et al. 2024). Computed in f64 and rounded once, into the tables.
 */
import { account } from "../native/ledger.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { RotaryTables } from "../ops/rotary.ts";
import type { Floats } from "../tensor/tensor.ts";
import type { RopeCache, RopeCaches, RopeRows, RopeScaling, Rotary } from "./rotary.ts";

/** How fast each pair of a head turns, and the factor on cos and sin. */
export interface RopeFrequencies {
  /** (Dh/2) radians a position. */
  readonly inverse: Float64Array;
  readonly attentionFactor: number;
}

/** Frequencies for a sequence of `length` tokens; only dynamic scaling and longrope look at the length. */
export function ropeFrequencies(
  rotary: Omit<Rotary, "maxPositionEmbeddings">,
  length: number,
): RopeFrequencies {
  const { rotaryDim: dim, ropeTheta: theta, ropeScaling: scaling } = rotary;
  const inverse = plainFrequencies(theta, dim);
  switch (scaling?.type) {
    case undefined:
      return { inverse, attentionFactor: 1 };
    case "linear":
      return { inverse: inverse.map((w) => w / scaling.factor), attentionFactor: 1 };
    case "dynamic": {
      // NTK: a larger base, so that the slowest pair turns as far over the longer sequence as over the full length.
      const full = scaling.originalMaxPositionEmbeddings;
      const stretch = (scaling.factor * Math.max(length, full)) / full - (scaling.factor - 1);
      return { inverse: plainFrequencies(theta * stretch ** (dim / (dim - 2)), dim), attentionFactor: 1 };
    }
    case "llama3":
      return { inverse: inverse.map((w) => llama3Frequency(w, scaling)), attentionFactor: 1 };
    case "yarn":
      return yarnFrequencies(inverse, theta, dim, scaling);
    case "longrope":
      return longropeFrequencies(inverse, length, scaling);
    case "proportional": {
      // The first pairs turn as if all of the head did, the rest not at all.
      const turning = Math.floor((scaling.partialRotaryFactor * dim) / 2);
      return { inverse: inverse.map((w, i) => i < turning ? w / scaling.factor : 0), attentionFactor: 1 };
    }
  }
}

/** Tokens after which keys that are remembered must be made again; Infinity for never. */
export function renewalLength({ ropeScaling, renewsKeys }: Rotary): number {
  return renewsKeys === true && ropeScaling?.type === "longrope"
    ? ropeScaling.originalMaxPositionEmbeddings
    : Infinity;
}

/** Rows of tables that are made first. */
const LEAST_ROWS = 64;

/**
 * Rows of the tables once a sequence of `length` tokens was seen: the next power of two, at most what the longest sequence
 * needs. They follow from the longest sequence alone, in whatever order sequences come.
 */
export function ropeTableRows(
  { maxPositionEmbeddings, ropeScaling }: Pick<Rotary, "maxPositionEmbeddings" | "ropeScaling">,
  length: number,
): number {
  if (length === 0) return 0;
  const short = ropeScaling?.type === "longrope" ? ropeScaling.originalMaxPositionEmbeddings : Infinity;
  const before = length > short ? short : 0;
  const rounded = Math.max(LEAST_ROWS, 2 ** Math.ceil(Math.log2(before + length)));
  return Math.max(before + length, Math.min(rounded, before + maxPositionEmbeddings));
}

/** Bytes of that many rows of both tables. */
export function ropeTableBytes(
  { rotaryDim }: Pick<Rotary, "rotaryDim">,
  rows: number,
  floatBytes: number,
): number {
  return rotaryDim * rows * floatBytes;
}

/** Tables for a model, of each of its rotary embeddings. */
export function createRopeCaches(
  k: Kernels,
  rotary: Readonly<Record<string, Rotary>>,
): RopeCaches & Disposable {
  const caches = new Map(Object.entries(rotary).map(([name, own]) => [name, createRopeCache(k, own)]));
  return Object.assign(caches, {
    [Symbol.dispose]: () => caches.forEach((cache) => cache[Symbol.dispose]()),
  });
}

/**
 * Tables of one rotary embedding. `model` decides when they are given back. With longrope the rows of short sequences come first, one a
 * position of the original length; those of longer ones follow, once there is one.
 */
export function createRopeCache(k: Kernels, rotary: Rotary): RopeCache {
  const { rotaryDim, maxPositionEmbeddings, ropeScaling } = rotary;
  const width = rotaryDim / 2;
  const longest = ropeScaling?.type === "dynamic" ? maxPositionEmbeddings : Infinity;
  const short = ropeScaling?.type === "longrope" ? ropeScaling.originalMaxPositionEmbeddings : Infinity;
  const frequencies = ropeFrequencies(rotary, 0);
  const longer = short < Infinity ? ropeFrequencies(rotary, short + 1) : frequencies;
  const bytesOf = (rows: number): number => ropeTableBytes(rotary, rows, k.float === "f64" ? 8 : 4);
  const none: RotaryTables = { cos: k.floats(0), sin: k.floats(0), rows: 0, rotaryDim };
  let tables = none;
  // Of the batch under way, on a device.
  let passing = none;
  const release = ({ cos, sin }: RotaryTables): void =>
    [cos, sin].forEach(({ buffer }) => k.device?.release(buffer));
  const resize = (rows: number): void => {
    account(k.ledger, "workspace", bytesOf(rows) - bytesOf(tables.rows));
    release(tables);
    const filled = { ...none, cos: k.floats(rows * width), sin: k.floats(rows * width), rows };
    for (let row = 0; row < rows; row++) {
      if (row < short) fillRow(filled, row, row, frequencies);
      else fillRow(filled, row, row - short, longer);
    }
    tables = k.device === null ? filled : onDevice(k, filled);
  };
  return {
    rowsFor(positions, starts) {
      if (largest(positions) >= longest) {
        const own = dynamicRows(k, rotary, positions, starts);
        if (k.device === null) return own;
        release(passing);
        passing = onDevice(k, own.tables);
        return { ...own, tables: passing };
      }
      const rows = short < Infinity ? rowsByLength(positions, starts, short) : positions;
      if (largest(rows) >= tables.rows) resize(ropeTableRows(rotary, largest(positions) + 1));
      return { tables, rows };
    },
    [Symbol.dispose]() {
      resize(0);
      release(passing);
      passing = none;
    },
  };
}

/** Largest element; -1 for none. */
function largest(positions: Int32Array): number {
  return positions.reduce((most, position) => Math.max(most, position), -1);
}

/** Rows of tables in which those of sequences longer than `short` tokens lie after the first `short` rows. */
function rowsByLength(positions: Int32Array, starts: Int32Array, short: number): Int32Array {
  const rows = positions.slice();
  for (let s = 0; s + 1 < starts.length; s++) {
    const sequence = rows.subarray(starts[s], starts[s + 1]);
    if (largest(sequence) >= short) sequence.forEach((position, i) => sequence[i] = short + position);
  }
  return rows;
}

/** A row for each token. */
function dynamicRows(k: Kernels, rotary: Rotary, positions: Int32Array, starts: Int32Array): RopeRows {
  const [count, width] = [positions.length, rotary.rotaryDim / 2];
  const [cos, sin] = [k.floats(count * width), k.floats(count * width)];
  const tables = { cos, sin, rows: count, rotaryDim: rotary.rotaryDim };
  for (let s = 0; s + 1 < starts.length; s++) {
    const sequence = positions.subarray(starts[s], starts[s + 1]);
    const frequencies = ropeFrequencies(rotary, largest(sequence) + 1);
    sequence.forEach((position, i) => fillRow(tables, (starts[s] as number) + i, position, frequencies));
  }
  return { tables, rows: positions.map((_, t) => t) };
}

/** The same tables where the model works. */
function onDevice(k: Kernels, tables: RotaryTables): RotaryTables {
  const moved = (table: Floats): Floats => {
    const there = k.modelFloats(table.length, "workspace");
    k.copy(there, table);
    return there;
  };
  return { ...tables, cos: moved(tables.cos), sin: moved(tables.sin) };
}

function fillRow(
  tables: { readonly cos: Floats; readonly sin: Floats },
  row: number,
  position: number,
  { inverse, attentionFactor }: RopeFrequencies,
): void {
  inverse.forEach((w, i) => {
    tables.cos[row * inverse.length + i] = Math.cos(position * w) * attentionFactor;
    tables.sin[row * inverse.length + i] = Math.sin(position * w) * attentionFactor;
  });
}

/** theta^(-2i/dim). */
function plainFrequencies(theta: number, dim: number): Float64Array {
  return Float64Array.from({ length: dim / 2 }, (_, i) => 1 / theta ** ((2 * i) / dim));
}

/** Fast pairs stay, slow ones turn `factor` times slower, in between a linear blend by wavelength. */
function llama3Frequency(w: number, scaling: RopeScaling & { type: "llama3" }): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: original } = scaling;
  const wavelength = (2 * Math.PI) / w;
  if (wavelength > original / lowFreqFactor) return w / factor;
  if (wavelength < original / highFreqFactor) return w;
  const smooth = (original / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return (1 - smooth) * (w / factor) + smooth * w;
}

/** Pairs that turn often within the original length stay, those that hardly turn are interpolated, with a ramp between. */
function yarnFrequencies(
  inverse: Float64Array,
  theta: number,
  dim: number,
  scaling: RopeScaling & { type: "yarn" },
): RopeFrequencies {
  const { factor, originalMaxPositionEmbeddings: original, betaFast, betaSlow, mscale, mscaleAllDim } =
    scaling;
  // The pair that makes `turns` turns within the original length.
  const pairOf = (turns: number) =>
    (dim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  let [low, high] = [pairOf(betaFast), pairOf(betaSlow)];
  if (scaling.truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  [low, high] = [Math.max(low, 0), Math.min(high, dim - 1)];
  if (low === high) high += 0.001;
  const magnitude = (scale: number) => factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
  return {
    inverse: inverse.map((w, i) => {
      const interpolated = Math.min(1, Math.max(0, (i - low) / (high - low)));
      return (w / factor) * interpolated + w * (1 - interpolated);
    }),
    attentionFactor: scaling.attentionFactor ??
      (mscale && mscaleAllDim ? magnitude(mscale) / magnitude(mscaleAllDim) : magnitude(1)),
  };
}

/** Each pair by a factor of its own: one set up to the original length, another beyond. */
function longropeFrequencies(
  inverse: Float64Array,
  length: number,
  scaling: RopeScaling & { type: "longrope" },
): RopeFrequencies {
  const { factor, originalMaxPositionEmbeddings: original, shortFactor, longFactor } = scaling;
  const factors = length > original ? longFactor : shortFactor;
  return {
    inverse: inverse.map((w, i) => w / (factors[i] as number)),
    attentionFactor: scaling.attentionFactor ??
      (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original))),
  };
}
