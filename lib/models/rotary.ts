// SPDX-License-Identifier: Apache-2.0
/** What a rotary embedding is, and its rows for a batch. */
import type { RotaryTables } from "../ops/rotary.ts";

/** How fast the pairs of a head turn; see `ropeFrequencies`. */
export interface Rotary {
  /** How many numbers of a head turn, from its first on; the others stay. Even. */
  readonly rotaryDim: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  readonly maxPositionEmbeddings: number;
  /**
   * Whether keys that are remembered are made again when a sequence outgrows the original length of a longrope; else, and
   * when absent, they keep the rotation that they came with.
   */
  readonly renewsKeys?: boolean;
}

/** Tables and, for each token, its row in them. */
export interface RopeRows {
  readonly tables: RotaryTables;
  /** (T) int32. */
  readonly rows: Int32Array;
}

/** Tables of one rotary embedding, made once and grown when a longer sequence comes. */
export interface RopeCache extends Disposable {
  /**
   * The rows of a micro-batch. With longrope and dynamic scaling they depend on the length of the sequence (its own, never
   * its neighbours', so that how sequences are batched does not matter): two tables in one, or rows made for this batch.
   *
   * @param positions (T) int32     @param starts (S+1) int32: sequence s is tokens [starts[s], starts[s+1])
   */
  rowsFor(positions: Int32Array, starts: Int32Array): RopeRows;
}

/** Those of all rotary embeddings of a model, by the names that its parts know them by. */
export type RopeCaches = ReadonlyMap<string, RopeCache>;

/** Rotary embedding scaling, by the checkpoint's own names. */
export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | { readonly type: "dynamic"; readonly factor: number; readonly originalMaxPositionEmbeddings: number }
  | {
    readonly type: "llama3";
    readonly factor: number;
    readonly lowFreqFactor: number;
    readonly highFreqFactor: number;
    readonly originalMaxPositionEmbeddings: number;
  }
  | {
    readonly type: "yarn";
    readonly factor: number;
    readonly originalMaxPositionEmbeddings: number;
    readonly attentionFactor: number | null;
    readonly betaFast: number;
    readonly betaSlow: number;
    readonly mscale: number | null;
    readonly mscaleAllDim: number | null;
    readonly truncate: boolean;
  }
  | {
    readonly type: "longrope";
    /** (R/2): how much slower each pair turns, in sequences of up to the original length. */
    readonly shortFactor: readonly number[];
    /** (R/2): and in longer ones. */
    readonly longFactor: readonly number[];
    readonly factor: number;
    readonly attentionFactor: number | null;
    readonly originalMaxPositionEmbeddings: number;
  }
  | { readonly type: "proportional"; readonly factor: number; readonly partialRotaryFactor: number };
