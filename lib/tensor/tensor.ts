// SPDX-License-Identifier: Apache-2.0
/** Tensors and weights: plain records, no methods, no graph. */
import type { WeightDType } from "../core/dtype.ts";

/** Floating-point data: f32 in the native backend, f64 in the reference. */
export type Floats = Float32Array | Float64Array;

/** A dense activation, gradient or parameter, row-major. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Floats;
}

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
