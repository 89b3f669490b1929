// SPDX-License-Identifier: Apache-2.0
/** Some rows of the hidden states, and the gradient of what was made of them alone. */
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Floats, Tensor } from "../../tensor/tensor.ts";

/** Row of a matrix (M,D), as a view. */
export function rowOf({ shape: [, width = 0], data }: Tensor, row: number): Floats {
  return data.subarray(row * width, (row + 1) * width);
}

/** Adds the gradient (N,D) of what `gatherRows` gave to that of what it was given, (M,D). @mutates dhidden */
export function addRows(k: Kernels, dhidden: Tensor, rows: Int32Array, d: Tensor): void {
  rows.forEach((row, i) => k.add(rowOf(dhidden, row), rowOf(d, i)));
}
