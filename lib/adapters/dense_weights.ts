// SPDX-License-Identifier: Apache-2.0
/** Weights of adapters that are trained whole. */
import type { Place } from "../ops/kernels/place.ts";
import { dropFloats, holdFloats } from "../ops/model_memory.ts";
import type { Floats, Weight } from "../tensor/tensor.ts";

/** A zeroed weight (rows, cols) in the backend's float type where the model works, with a gradient when it is to be trained. */
export function adapterWeight(
  k: Place,
  name: string,
  rows: number,
  cols: number,
  trained: boolean,
): Weight {
  const count = rows * cols;
  const grad = trained ? k.modelFloats(count, "gradients") : null;
  return { name, dtype: k.float, rows, cols, data: k.modelFloats(count, "parameters"), mapped: null, grad };
}

/** Enters weights and their gradients in the ledger. @mutates k.ledger */
export function holdWeights(k: Place, weights: readonly Weight[]): void {
  for (const { data, grad } of weights) {
    holdFloats(k, data as Floats, "parameters");
    if (grad) holdFloats(k, grad, "gradients");
  }
}

/** Takes weights and their gradients out of the ledger, and off the device: they are spent. @mutates k.ledger */
export function dropWeights(k: Place, weights: readonly Weight[]): void {
  for (const { data, grad } of weights) {
    dropFloats(k, data as Floats, "parameters");
    if (grad) dropFloats(k, grad, "gradients");
  }
}
