// SPDX-License-Identifier: Apache-2.0
/**
 * What a mixture-of-experts asks of a device. T tokens choose K of N experts each; a choice is a slot, t*K + k. Products of
 * an expert take its tokens as rows that lie together: T*K rows, one for each slot. `csrc/include/meft.h` gives the formulas.
 */
import type { ActivationArray, Floats } from "../../tensor/tensor.ts";

/** How tokens choose. */
export interface ExpertChoice {
  readonly experts: number;
  /** K. */
  readonly active: number;
  /** Whether the weights of a token are divided by their sum. */
  readonly normalised: boolean;
}

/** See `meft_experts_*`. */
export interface ExpertKernels {
  /** chosen (T,K), in the host's memory, and weights (T,K) written, of logits (T,N). On a device this waits for it. */
  expertsChoose(weights: Floats, chosen: Int32Array, logits: Floats, choice: ExpertChoice): void;
  /** The weights of `expertsChoose` alone, of a choice that is given. */
  expertsWeights(weights: Floats, chosen: Int32Array, logits: Floats, choice: ExpertChoice): void;
  /** dlogits (T,N) written. */
  expertsChooseBackward(
    dlogits: Floats,
    dweights: Floats,
    logits: Floats,
    chosen: Int32Array,
    choice: ExpertChoice,
  ): void;
  /** y (rows.length,width) written: row i is row rows[i] of x. */
  expertsGather(y: ActivationArray, x: ActivationArray, rows: Int32Array, width: number): void;
  /** y (T,width) written or accumulated: row t is the sum over k of weights[t,k] x[places[t,k]]; weights null for 1. */
  expertsCombine(
    y: Floats,
    x: ActivationArray,
    places: Int32Array,
    weights: Floats | null,
    active: number,
    width: number,
    accumulate: boolean,
  ): void;
  /** dx[i] = weights[slots[i]] dy[i], dx may be dy; dweights[slots[i]] = dy[i].x[i]. Rows of one type. */
  expertsWeighBackward(
    dx: ActivationArray,
    dweights: Floats,
    dy: ActivationArray,
    x: ActivationArray,
    slots: Int32Array,
    weights: Floats,
    width: number,
  ): void;
}
