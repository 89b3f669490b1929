// SPDX-License-Identifier: Apache-2.0
/** Element types: of checkpoints on disk, of tensors in memory, of matrix products. */

/** Element types a tensor may have. `bf16` and `f16` are carried in a Uint16Array. */
export type DType = "f32" | "f64" | "bf16" | "f16" | "i32" | "i16" | "u16" | "u8" | "i64";

/** Element types a model weight may be stored in. `f64` only in the reference backend. */
export type WeightDType = "f32" | "bf16" | "f16" | "f64";

/** How matrix products are done: inputs rounded to this type, sums kept in f32 (f64 for `f64`). */
export type ComputeDType = "f32" | "bf16" | "f64";

/** How activations are stored: in the type of products. */
export type ActivationDType = ComputeDType;

/** Bytes of one element. */
export const BYTES_PER_ELEMENT: Readonly<Record<DType, number>> = {
  f32: 4,
  f64: 8,
  bf16: 2,
  f16: 2,
  i32: 4,
  i16: 2,
  u16: 2,
  u8: 1,
  i64: 8,
};
