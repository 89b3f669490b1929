// SPDX-License-Identifier: Apache-2.0
/** Numbers of (token, neuron) pairs as a dense (T, columns) matrix and back, in host memory: a few numbers a token. */
import type { ModelKernels } from "./kernels/model.ts";

/** See {@linkcode ModelKernels}. */
export const pairMatrixKernels: Pick<ModelKernels, "pairsScatter" | "pairsGather"> = {
  pairsScatter(out, values, offsets, columns, width) {
    out.fill(0);
    eachPair(offsets, columns, width, (pair, place) => void (out[place] = values[pair] as number));
  },
  pairsGather(out, dense, offsets, columns, width) {
    eachPair(offsets, columns, width, (pair, place) => void (out[pair] = dense[place] as number));
  },
};

/** Calls with each pair that has a column, and its place in the matrix. */
function eachPair(
  offsets: Int32Array,
  columns: Int32Array,
  width: number,
  use: (pair: number, place: number) => void,
): void {
  for (let t = 0; t + 1 < offsets.length; t++) {
    for (let pair = offsets[t] as number; pair < (offsets[t + 1] as number); pair++) {
      const column = columns[pair] as number;
      if (column >= 0) use(pair, t * width + column);
    }
  }
}
