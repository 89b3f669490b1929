// SPDX-License-Identifier: Apache-2.0
/**
 * Rotary frequencies and tables: Su et al. 2021, with the scalings of Hugging Face transformers (linear, dynamic NTK,
 * llama3, and yarn of Peng et al. 2023). Computed in f64 and rounded once, into the tables.
 */
import { account } from "../native/ledger.ts";
import type { Kernels } from "../ops/kernels.ts";
import type { RotaryTables } from "../ops/rotary.ts";
import type { Floats } from "../tensor/tensor.ts";
import type { ModelConfig, RopeCache, RopeRows, RopeScaling } from "./model.ts";

/** How fast each pair of a head turns, and the factor on cos and sin. */
export interface RopeFrequencies {
  /** (Dh/2) radians a position. */
  readonly inverse: Float64Array;
  readonly attentionFactor: number;
}

/** Frequencies for a sequence of `length` tokens; only dynamic scaling looks at the length. */
export function ropeFrequencies(config: ModelConfig, length: number): RopeFrequencies {
  const { headDim: dim, ropeTheta: theta, ropeScaling: scaling } = config;
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
  }
}

/** Tables for a model. `model` decides when they are given back. */
export function createRopeCache(k: Kernels, config: ModelConfig): RopeCache {
  const width = config.headDim / 2;
  const frequencies = ropeFrequencies(config, 0);
  const longest = config.ropeScaling?.type === "dynamic" ? config.maxPositionEmbeddings : Infinity;
  const rowBytes = 2 * width * (k.float === "f64" ? 8 : 4);
  let tables: RotaryTables = { cos: k.floats(0), sin: k.floats(0), rows: 0 };
  const resize = (rows: number): void => {
    account(k.ledger, "workspace", (rows - tables.rows) * rowBytes);
    [tables.cos, tables.sin].forEach(({ buffer }) => k.device?.release(buffer));
    const filled = { cos: k.floats(rows * width), sin: k.floats(rows * width), rows };
    for (let row = 0; row < rows; row++) fillRow(filled, row, row, frequencies);
    tables = k.device === null ? filled : onDevice(k, filled);
  };
  return {
    rowsFor(positions, starts) {
      const last = positions.reduce((most, position) => Math.max(most, position), -1);
      if (last >= longest) return dynamicRows(k, config, positions, starts);
      // Doubling: at most as many turns again as the longest sequence needs.
      if (last >= tables.rows) {
        resize(Math.max(last + 1, Math.min(2 * tables.rows, config.maxPositionEmbeddings)));
      }
      return { tables, rows: positions };
    },
    [Symbol.dispose]: () => resize(0),
  };
}

/** A row for each token. */
function dynamicRows(k: Kernels, config: ModelConfig, positions: Int32Array, starts: Int32Array): RopeRows {
  const [count, width] = [positions.length, config.headDim / 2];
  const tables = { cos: k.floats(count * width), sin: k.floats(count * width), rows: count };
  for (let s = 0; s + 1 < starts.length; s++) {
    const sequence = positions.subarray(starts[s], starts[s + 1]);
    const length = sequence.reduce((most, position) => Math.max(most, position), -1) + 1;
    const frequencies = ropeFrequencies(config, length);
    sequence.forEach((position, i) => fillRow(tables, (starts[s] as number) + i, position, frequencies));
  }
  return { tables, rows: positions.map((_, t) => t) };
}

/** The same tables where the model works. */
function onDevice(k: Kernels, { cos, sin, rows }: RotaryTables): RotaryTables {
  const moved = (table: Floats): Floats => {
    const there = k.modelFloats(table.length, "workspace");
    k.copy(there, table);
    return there;
  };
  return { cos: moved(cos), sin: moved(sin), rows };
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
