// SPDX-License-Identifier: Apache-2.0
/** Matrix products and embedding of the reference backend: plain loops in f64, sums in increasing index order. */
import type { ActivationArray } from "../../tensor/tensor.ts";
import type { ModelKernels } from "../kernels/model.ts";
import { weightValues } from "./weights.ts";

/** The value at i: reference code indexes only what exists, and its activations are all f64. */
export function at(array: ActivationArray | Int32Array, i: number): number {
  return array[i] as number;
}

/** Sum over i < count of a[aStart + i] * b[bStart + i]. */
export function dot(
  a: ActivationArray,
  aStart: number,
  b: ActivationArray,
  bStart: number,
  count: number,
): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += at(a, aStart + i) * at(b, bStart + i);
  return sum;
}

/** y[yStart + i] += factor * x[xStart + i] for i < count. @mutates y */
export function addScaled(
  y: ActivationArray,
  yStart: number,
  factor: number,
  x: ActivationArray,
  xStart: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) y[yStart + i] = at(y, yStart + i) + factor * at(x, xStart + i);
}

type LinearKernels = Pick<
  ModelKernels,
  "linearForward" | "linearBackwardData" | "linearBackwardWeight" | "embeddingForward" | "embeddingBackward"
>;

/** See `meft_linear_*` and `meft_embedding_*`. */
export const linearKernels: LinearKernels = {
  linearForward(y, x, w, bias, tokens, accumulate) {
    const weight = weightValues(w);
    const offset = bias && weightValues(bias);
    for (let t = 0; t < tokens; t++) {
      for (let o = 0; o < w.rows; o++) {
        const product = dot(x, t * w.cols, weight, o * w.cols, w.cols) + (offset ? at(offset, o) : 0);
        const i = t * w.rows + o;
        y[i] = (accumulate ? at(y, i) : 0) + product;
      }
    }
  },

  linearBackwardData(dx, dy, w, tokens, accumulate) {
    const weight = weightValues(w);
    if (!accumulate) dx.fill(0, 0, tokens * w.cols);
    for (let t = 0; t < tokens; t++) {
      for (let o = 0; o < w.rows; o++) {
        addScaled(dx, t * w.cols, at(dy, t * w.rows + o), weight, o * w.cols, w.cols);
      }
    }
  },

  linearBackwardWeight(dweight, dbias, dy, x, tokens, rows, cols) {
    for (let t = 0; t < tokens; t++) {
      for (let o = 0; o < rows; o++) addScaled(dweight, o * cols, at(dy, t * rows + o), x, t * cols, cols);
      if (dbias) addScaled(dbias, 0, 1, dy, t * rows, rows);
    }
  },

  embeddingForward(y, ids, w, accumulate) {
    const table = weightValues(w);
    ids.forEach((id, t) => {
      if (id < 0 || id >= w.rows) {
        throw new RangeError(`ids[${t}] is ${id}, expected from 0 to ${w.rows - 1}`);
      }
      if (accumulate) addScaled(y, t * w.cols, 1, table, id * w.cols, w.cols);
      else y.set(table.subarray(id * w.cols, (id + 1) * w.cols), t * w.cols);
    });
  },

  embeddingBackward(dweight, ids, dy, _vocabulary, hidden) {
    ids.forEach((id, t) => addScaled(dweight, id * hidden, 1, dy, t * hidden, hidden));
  },
};
