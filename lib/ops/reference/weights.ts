// SPDX-License-Identifier: Apache-2.0
/** Weights as stored, read into f64. */
import { bf16ToFloat, f16ToFloat } from "../../core/half.ts";
import type { Weight } from "../../tensor/tensor.ts";

/**
 * The elements of a weight, row-major, every stored value exactly.
 *
 * @throws {TypeError} When the weight lies in a mapped file: only native code reads those
 */
export function weightValues(w: Weight): Float64Array {
  if (w.data === null) {
    throw new TypeError(
      `Weight "${w.name}" lies in a mapped file; the reference backend reads weights in memory`,
    );
  }
  const { data } = w;
  if (data instanceof Float64Array) return data;
  if (data instanceof Float32Array) return Float64Array.from(data);
  return Float64Array.from(data, w.dtype === "bf16" ? bf16ToFloat : f16ToFloat);
}
