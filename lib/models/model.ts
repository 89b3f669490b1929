// SPDX-License-Identifier: Apache-2.0
/** A decoder-only transformer: its configuration and its weights. */
import type { Weight } from "../tensor/tensor.ts";

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
  };

/** What `config.json` says, in camelCase. */
export interface ModelConfig {
  readonly modelType: string;
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
  readonly tieWordEmbeddings: boolean;
  /** Biases present, by site. */
  readonly attentionBias: { readonly qkv: boolean; readonly o: boolean };
  readonly mlpBias: boolean;
  /** RMS norm of each query and key head before the rotation. */
  readonly headNorms: boolean;
  readonly initializerRange: number;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
}

/** Weights of one block. Biases and head norms are null where the family has none. */
export interface LayerWeights {
  readonly inputNorm: Weight;
  readonly q: Weight;
  readonly k: Weight;
  readonly v: Weight;
  readonly o: Weight;
  readonly qBias: Weight | null;
  readonly kBias: Weight | null;
  readonly vBias: Weight | null;
  readonly oBias: Weight | null;
  readonly qNorm: Weight | null;
  readonly kNorm: Weight | null;
  readonly postAttentionNorm: Weight;
  readonly gate: Weight;
  readonly up: Weight;
  readonly down: Weight;
  readonly gateBias: Weight | null;
  readonly upBias: Weight | null;
  readonly downBias: Weight | null;
}

/** All weights. `head` is the embedding itself when they are tied. */
export interface ModelWeights {
  readonly embedding: Weight;
  readonly layers: readonly LayerWeights[];
  readonly finalNorm: Weight;
  readonly head: Weight;
}
