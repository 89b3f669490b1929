// SPDX-License-Identifier: Apache-2.0
/** A decoder-only transformer: its configuration, and what it is made of. */
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { RotaryTables } from "../ops/rotary.ts";
import type { CheckpointIndex } from "../tensor/checkpoint_index.ts";
import type { HeadConfig } from "./heads/head_config.ts";
import type { ModelParts } from "./parts.ts";

/** A loaded model. Use with `using`: disposing it closes its files. */
export interface Model extends Disposable {
  /** Folder it was loaded from. */
  readonly dir: string;
  readonly config: ModelConfig;
  /** What it is made of, with its weights. */
  readonly parts: ModelParts;
  readonly kernels: Kernels;
  /** Where each tensor lies. */
  readonly checkpoint: CheckpointIndex;
  /** Rotary tables, shared by all layers. */
  readonly rope: RopeCache;
  /** Names of the head's tensors that the checkpoint lacks: they have no values until they are trained. */
  readonly fresh: ReadonlySet<string>;
  /** What a user should know of the checkpoint, a sentence each: fields and tensors that are passed over. */
  readonly warnings: readonly string[];
  /** Whether the weights are only described, not there: such a model can be planned with, not run. */
  readonly weightless?: boolean;
}

/** Tables and, for each token, its row in them. */
export interface RopeRows {
  readonly tables: RotaryTables;
  /** (T) int32. */
  readonly rows: Int32Array;
}

/** Tables of a model, made once and grown when a longer sequence comes. */
export interface RopeCache extends Disposable {
  /**
   * The rows of a micro-batch. With longrope and dynamic scaling they depend on the length of the sequence (its own, never
   * its neighbours', so that how sequences are batched does not matter): two tables in one, or rows made for this batch.
   *
   * @param positions (T) int32     @param starts (S+1) int32: sequence s is tokens [starts[s], starts[s+1])
   */
  rowsFor(positions: Int32Array, starts: Int32Array): RopeRows;
}

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
    /** (Dh/2): how much slower each pair turns, in sequences of up to the original length. */
    readonly shortFactor: readonly number[];
    /** (Dh/2): and in longer ones. */
    readonly longFactor: readonly number[];
    readonly factor: number;
    readonly attentionFactor: number | null;
    readonly originalMaxPositionEmbeddings: number;
  }
  | { readonly type: "proportional"; readonly factor: number; readonly partialRotaryFactor: number };

/** What `config.json` says, in camelCase. */
export interface ModelConfig {
  readonly modelType: string;
  readonly head: HeadConfig;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  readonly maxPositionEmbeddings: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  /** Sliding window of each layer, 0 for none; length numHiddenLayers. */
  readonly slidingWindows: readonly number[];
  /** Whether the head is the embedding: not when the checkpoint has another head, whatever `config.json` says. */
  readonly tieWordEmbeddings: boolean;
  /** Biases present, by site. */
  readonly attentionBias: { readonly qkv: boolean; readonly o: boolean };
  readonly mlpBias: boolean;
  /** RMS norm of each query and key head before the rotation. */
  readonly headNorms: boolean;
  readonly initializerRange: number;
  /** What sequences are filled up with where they are computed as a rectangle: never the last token of one. */
  readonly padTokenId: number | null;
  /** From `generation_config.json` where that names them, else from `config.json`. */
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
}
