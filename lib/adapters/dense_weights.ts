// SPDX-License-Identifier: Apache-2.0
/** Weights of adapters that are trained whole. */
import { account } from "../native/ledger.ts";
import type { Kernels } from "../ops/kernels.ts";
import type { Weight } from "../tensor/tensor.ts";

/** A zeroed weight (rows, cols) in the backend's float type, with a gradient when it is to be trained. */
export function adapterWeight(
  k: Kernels,
  name: string,
  rows: number,
  cols: number,
  trained: boolean,
): Weight {
  const grad = trained ? k.floats(rows * cols) : null;
  return { name, dtype: k.float, rows, cols, data: k.floats(rows * cols), mapped: null, grad };
}

/** Enters weights and their gradients in the ledger, or takes them out. */
export function accountWeights(k: Kernels, weights: readonly Weight[], sign: 1 | -1): void {
  for (const { data, grad } of weights) {
    account(k.ledger, "parameters", sign * (data?.byteLength ?? 0));
    account(k.ledger, "gradients", sign * (grad?.byteLength ?? 0));
  }
}
