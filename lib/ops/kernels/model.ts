// SPDX-License-Identifier: Apache-2.0
/**
 * What a device gives: products, norms, attention and single passes over arrays, on the lane where the model works.
 * Outputs first, then inputs, then sizes; "accumulated" outputs are added to. `csrc/include/meft.h` gives the formulas.
 *
 * T tokens, D hidden, V vocabulary, H heads, Hkv kv heads, Dh head size, P pairs.
 */
import type { Awaitable } from "../../core/awaitable.ts";
import type { ComputeDType } from "../../core/dtype.ts";
import type { DropoutMask } from "../../core/rng.ts";
import type { ActivationArray, Floats, Weight } from "../../tensor/tensor.ts";
import type { CouplingKernels } from "./coupling.ts";
import type { ExpertKernels } from "./experts.ts";

/** Which keys of its span a query may see: those up to its own place, or all. */
export type Sees = "past" | "all";

/** Shape of one attention call; see `meft_attention`. */
export interface AttentionShape {
  readonly queryRows: number;
  readonly keyRows: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly sees: Sees;
  /**
   * 0 for no limit. Of the past: keys a query sees at most, that at its own place included. Of all: a query sees the keys no
   * more than floor(window / 2) places from its own, on both sides.
   */
  readonly window: number;
  readonly scale: number;
  /** 0: scores are scale * q.k; else softcap * tanh(scale * q.k / softcap). */
  readonly softcap: number;
}

/** Which statistics a norm takes off a row; see `meft_norm_forward`. */
export type NormKind = "rms" | "layer";

/** One norm: what it multiplies by and adds behind its statistics. (1,D) each. */
export interface NormCall<W = Weight> {
  readonly kind: NormKind;
  readonly weight: W;
  readonly bias: W | null;
  readonly eps: number;
  /** Whether the stored weight is what is added to 1. */
  readonly unitOffset: boolean;
}

/** Where the gradients of a norm's weight and bias (D) are added; null where one is frozen, or not there. */
export interface NormGradients {
  readonly weight: Floats | null;
  readonly bias: Floats | null;
}

/** A function of single elements; see `meft_activation_forward`. */
export type ActivationKind =
  | "identity"
  | "relu"
  | "silu"
  | "gelu"
  | "gelu_tanh"
  | "quick_gelu"
  | "tanh"
  | "sigmoid";

/** AdamW hyper-parameters of one step. `step` counts from 1. */
export interface AdamwStep {
  readonly step: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Multiplies every gradient first: clipping. */
  readonly gradScale: number;
  /** lrHistory[i] is the learning rate of step i+1; at least `step` entries. */
  readonly lrHistory: Floats;
}

/** The model's primitives. Arrays lie where the model works: in `Place.modelFloats` and the arena. */
export interface ModelKernels extends ExpertKernels, CouplingKernels {
  /** Type of matrix products. */
  readonly compute: ComputeDType;

  linearForward(
    y: ActivationArray,
    x: ActivationArray,
    w: Weight,
    bias: Weight | null,
    tokens: number,
    accumulate: boolean,
  ): void;
  linearBackwardData(
    dx: ActivationArray,
    dy: ActivationArray,
    w: Weight,
    tokens: number,
    accumulate: boolean,
  ): void;
  /** dweight (rows,cols) and dbias (rows) accumulated. */
  linearBackwardWeight(
    dweight: Floats,
    dbias: Floats | null,
    dy: ActivationArray,
    x: ActivationArray,
    tokens: number,
    rows: number,
    cols: number,
  ): void;

  /** Written, or added to y. */
  embeddingForward(y: Floats, ids: Int32Array, w: Weight, accumulate: boolean): void;
  embeddingBackward(dweight: Floats, ids: Int32Array, dy: Floats, vocabulary: number, hidden: number): void;

  /** stats of rms: rstd (rows); of layer: means (rows), then rstd (rows). */
  normForward(y: ActivationArray, stats: Floats, x: ActivationArray, norm: NormCall, rows: number): void;
  /** dx, dy and x are of one type. */
  normBackward(
    dx: ActivationArray,
    dnorm: NormGradients,
    dy: ActivationArray,
    x: ActivationArray,
    stats: Floats,
    norm: NormCall,
    rows: number,
    accumulate: boolean,
  ): void;
  /** In place on the first rotaryDim of each head of x (T,heads,headDim); tables (rows,rotaryDim/2). */
  ropeApply(
    x: ActivationArray,
    cos: Floats,
    sin: Floats,
    positions: Int32Array,
    heads: number,
    headDim: number,
    rotaryDim: number,
    inverse: boolean,
  ): void;
  /** y = f(x), times up where there is one. All of one type; y may be x or up. */
  activationForward(
    y: ActivationArray,
    x: ActivationArray,
    up: ActivationArray | null,
    kind: ActivationKind,
  ): void;
  /** dup is there where up is. All of one type; dx may be x or dy, dup may be up. Of relu, x may be its y. */
  activationBackward(
    dx: ActivationArray,
    dup: ActivationArray | null,
    dy: ActivationArray,
    x: ActivationArray,
    up: ActivationArray | null,
    kind: ActivationKind,
  ): void;

  /** spans (S,4) int32: {queryBegin, queryEnd, keyBegin, keyEnd}. All but lse are of the activations' type. */
  attentionForward(
    o: ActivationArray,
    lse: Floats,
    q: ActivationArray,
    k: ActivationArray,
    v: ActivationArray,
    spans: Int32Array,
    shape: AttentionShape,
  ): void;
  attentionBackward(
    dq: ActivationArray,
    dk: ActivationArray,
    dv: ActivationArray,
    dO: ActivationArray,
    q: ActivationArray,
    k: ActivationArray,
    v: ActivationArray,
    o: ActivationArray,
    lse: Floats,
    spans: Int32Array,
    shape: AttentionShape,
  ): void;
  /**
   * loss (T) written, of logits (T,V), or of softcap * tanh(logits / softcap) where softcap is more than 0, its default; logits
   * become scale * dloss/dlogits in place unless scale is 0. Targets < 0 do not count.
   */
  crossEntropy(
    loss: Floats,
    logits: Floats,
    targets: Int32Array,
    vocabulary: number,
    scale: number,
    softcap?: number,
  ): void;
  /** x = cap * tanh(x / cap). */
  softcap(x: Floats, cap: number): void;
  /** y = x / (1 - p) where the mask keeps an element, else 0; or that added to y: `lib/core/rng.ts`. In place allowed. */
  dropout(y: ActivationArray, x: ActivationArray, mask: DropoutMask, accumulate: boolean): void;
  /** out (T,width) written: the value of each pair at its token and column, 0 elsewhere; pairs of column -1 are left out. */
  pairsScatter(out: Floats, values: Floats, offsets: Int32Array, columns: Int32Array, width: number): void;
  /** out (P): of each pair with a column, what stands there in dense (T,width); others stay. */
  pairsGather(out: Floats, dense: Floats, offsets: Int32Array, columns: Int32Array, width: number): void;

  // What is made where its first array lies: there, or in memory of the host.

  /** y += x, both of one type. */
  add<A extends ActivationArray>(y: A, x: A): void;
  /** y = factor * y + x, rounded once: gradients of a coupling. */
  scaledAdd(y: Floats, factor: number, x: Floats): void;
  /** x *= factor. */
  scale(x: Floats, factor: number): void;
  /** Sum of squares in f64, now or when a device has it; not finite when x holds a value that is not. Until then x must stay. */
  sumSquares(x: Floats): Awaitable<number>;
  /** N(0, std^2), a pure function of (seed, stream, index): `lib/core/rng.ts`. */
  randomNormal(out: Floats, seed: number, stream: number, std: number): void;
  /** One AdamW step of a dense parameter. @mutates w, m, v */
  adamwDense(w: Floats, m: Floats, v: Floats, grad: Floats, step: AdamwStep): void;
}
