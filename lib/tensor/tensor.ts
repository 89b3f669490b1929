// SPDX-License-Identifier: Apache-2.0
/** Tensors and weights: plain records, no methods, no graph. */
import type { WeightDType } from "../core/dtype.ts";

/** Floating-point data: f32 in the native backend, f64 in the reference. */
export type Floats = Float32Array | Float64Array;

/** Data of an {@linkcode Activation}: a Uint16Array holds bf16. */
export type ActivationArray = Floats | Uint16Array;

/** A dense activation, gradient or parameter, row-major. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Floats;
}

/**
 * A tensor that may be stored in half the bytes. Where products are computed in bf16, what only products and elementwise
 * kernels read is stored in bf16: projections (with norm and rotation), attention's output, the gate, what it gates and
 * their product, and the gradients of all these. A kernel reads bf16 exactly, computes in f32 and rounds once, as it
 * writes; a product's inputs would be rounded to bf16 anyhow, so most of these roundings are not new but made earlier.
 *
 * What adds up over layers stays f32 (the residual stream x, its gradient, sums of dh), and so do statistics (rstd,
 * log-sum-exp), logits and losses, and everything of routers, adapters and optimizers: those are a {@linkcode Tensor}, and
 * the compiler refuses an Activation in their place. Which type an activation takes is said once, by
 * `Kernels.activationDType`; memory for it is taken by `arenaActivation`, and from there on results take the type of
 * their inputs (`arenaLike`). With products in f32 every activation is f32, in the reference backend f64.
 */
export interface Activation {
  readonly shape: readonly number[];
  readonly data: ActivationArray;
}

/**
 * A residual stream that a coupling can undo exactly: int32 fixed point, row-major. The value of an element is
 * data * 2^-fraction.
 */
export interface FixedTensor {
  readonly shape: readonly number[];
  readonly data: Int32Array;
  /** Fractional bits. */
  readonly fraction: number;
}

/** Data of anything that a model computes on. */
export type ModelArray = ActivationArray | Int32Array;

/** Elements of a shape. */
export function numel(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A place inside a memory-mapped file, known to the native library by handle. */
export interface MappedRange {
  readonly handle: bigint;
  readonly offsetBytes: number;
}

/**
 * A matrix (rows, cols) or vector (1, cols) of the model, as stored. Exactly one of `data` and `mapped` is set.
 * A weight with a `grad` is trained: backward passes add to it.
 */
export interface Weight {
  readonly name: string;
  readonly dtype: WeightDType;
  readonly rows: number;
  readonly cols: number;
  readonly data: Float32Array | Float64Array | Uint16Array | null;
  readonly mapped: MappedRange | null;
  /** Gradient, (rows, cols), in the backend's float type; null when frozen. */
  readonly grad: Floats | null;
  /** Rows that stand in the place of some of a table's: `lib/ops/row_overlay.ts`. Absent for most. */
  readonly overlay?: RowOverlay;
}

/** Rows that stand in the place of some rows of a table (V,D), and may be trained while all others are frozen. */
export interface RowOverlay {
  /** (N) int32: which rows of the table, each once. */
  readonly rows: Int32Array;
  /** (N,D) float: what stands there. */
  readonly weight: Weight;
}

/** Whether backward passes add to a weight, or to rows in the place of some of its own. */
export function isTrainedWeight({ grad, overlay }: Weight): boolean {
  return (grad ?? overlay?.weight.grad ?? null) !== null;
}

/**
 * A trainable row-major matrix that is read and updated by rows, kept as planes: bf16 high halves that kernels read, and
 * low halves that complete the f32 master bit for bit (f32 bits = (hi << 16) + lo). The reference backend keeps `full`
 * instead, and empty planes.
 */
export interface RowMatrix {
  readonly rows: number;
  readonly cols: number;
  readonly hi: Uint16Array;
  readonly lo: Int16Array;
  readonly full: Float64Array | null;
}
