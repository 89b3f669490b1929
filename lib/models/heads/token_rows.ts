// SPDX-License-Identifier: Apache-2.0
/** Some rows of the hidden states, and the gradient of what was made of them alone. */
import { arenaTensor } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Floats, Tensor } from "../../tensor/tensor.ts";

/** Row of a matrix (M,D), as a view. */
export function rowOf({ shape: [, width = 0], data }: Tensor, row: number): Floats {
  return data.subarray(row * width, (row + 1) * width);
}

/** Rows of hidden (M,D), as (N,D) in the arena. */
export function gatherRows(k: Kernels, hidden: Tensor, rows: Int32Array): Tensor {
  const gathered = arenaTensor(k, [rows.length, hidden.shape[1] ?? 0]);
  rows.forEach((row, i) => k.copy(rowOf(gathered, i), rowOf(hidden, row)));
  return gathered;
}

/** Adds the gradient (N,D) of what {@linkcode gatherRows} gave to that of what it was given, (M,D). @mutates dhidden */
export function addRows(k: Kernels, dhidden: Tensor, rows: Int32Array, d: Tensor): void {
  rows.forEach((row, i) => k.add(rowOf(dhidden, row), rowOf(d, i)));
}
