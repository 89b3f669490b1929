// SPDX-License-Identifier: Apache-2.0
/**
 * Which rows fire, counted. Values decide that, and there are none: what is said is how many can fire at most, or how many do
 * where choices are spread evenly. Both are what happens where all rows fire.
 */
import type { RowMatrix } from "../../tensor/tensor.ts";
import type { FiredRowKernels } from "../fired_rows.ts";
import type { SparseCall, SparseShape } from "../kernels/rows.ts";
import { pairsPerToken, unitedNeurons } from "../sparse_pairs.ts";
import { phantom, phantomBuffer, PHANTOMS } from "./phantom.ts";
import { countedRowCache } from "./row_cache.ts";

/**
 * How many rows tokens fire. `most`: all, or a row for each pair, and those of the next micro-batch are others. `expected`: those of choices that are spread evenly, of which later micro-batches meet earlier ones.
 */
export type RowReach = "most" | "expected";

/** Of what rows are counted. */
export interface RowsOfStep {
  readonly reach: RowReach;
  /** Tokens of an optimizer step at most: so many choose before slots are free again. 0 when that is not known. */
  readonly tokens: number;
}

/** What is known of the pairs that fired in passes under way. */
export interface FiredRows {
  /** A layer's tokens have chosen among its rows. */
  choose(call: Pick<SparseCall, "shape" | "keys" | "pairs">): void;
  /** See {@linkcode FiredRowKernels}. */
  readonly kernels: FiredRowKernels;
}

/** Rows from `first` on. */
interface Choice {
  readonly first: number;
  readonly count: number;
}

/** Nothing has fired yet. */
export function countedFiredRows({ reach, tokens: stepTokens }: RowsOfStep): FiredRows {
  /** Tokens of each layer so far. */
  const seen = new WeakMap<RowMatrix, number>();
  /** Pairs of a step. */
  let stepPairs = 0;
  /** By where the neurons of its pairs are kept. */
  const chosen = new WeakMap<ArrayBufferLike, Map<number, Choice>>();
  return {
    choose({ shape, keys, pairs: { neurons } }) {
      const before = seen.get(keys) ?? 0;
      const tokens = before + shape.tokens;
      stepPairs = Math.max(stepPairs, stepTokens * pairsPerToken(shape));
      seen.set(keys, tokens);
      const choice = reach === "most"
        ? mostRows(shape, neurons.length, before)
        : expectedRows(shape, tokens, Math.max(tokens, stepTokens));
      const places = chosen.get(neurons.buffer) ?? new Map<number, Choice>();
      chosen.set(neurons.buffer, places.set(neurons.byteOffset, choice));
    },
    kernels: {
      firedRows({ pairs: { neurons: { buffer, byteOffset } }, pairCount, shape }) {
        const { first, count } = chosen.get(buffer)?.get(byteOffset) ??
          { first: 0, count: Math.min(pairCount, shape.neurons) };
        const { i32 } = PHANTOMS;
        const place = first * i32.BYTES_PER_ELEMENT;
        return new i32(phantomBuffer(place + count * i32.BYTES_PER_ELEMENT), place, count);
      },
      pairColumns: ({ pairCount }) => phantom("i32", pairCount),
      // Micro-batches are looked at as if others had come before them.
      rowCache: (capacity, rows) =>
        countedRowCache(capacity, () => reach === "most" ? Math.min(rows, stepPairs) : 0),
      gateGradients: () => {},
    },
  };
}

/** All rows, or others than ever before, of which there seems to be no end: nobody meets a row that another left. */
function mostRows(shape: SparseShape, pairs: number, before: number): Choice {
  const { neurons } = shape;
  return pairs < neurons
    ? { first: neurons + before * pairsPerToken(shape), count: pairs }
    : { first: 0, count: neurons };
}

/**
 * The last of all that were chosen so far: in the first micro-batch of a step what it chooses, in each later one as many more as
 * they meet on average, so that one stands for all.
 */
function expectedRows(shape: SparseShape, seen: number, step: number): Choice {
  const united = (tokens: number): number => Math.min(shape.neurons, unitedNeurons({ ...shape, tokens }));
  const count = united(shape.tokens);
  const later = (seen - shape.tokens) / Math.max(1, step - shape.tokens);
  return { first: Math.round((united(step) - count) * later), count };
}
