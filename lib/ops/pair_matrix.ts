// SPDX-License-Identifier: Apache-2.0
/** Numbers of (token, neuron) pairs as a dense (T, columns) matrix and back, in host memory: a few numbers a token. */
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

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

/** Rows that occur in the pairs, increasing. */
export function uniqueRows(
  k: Pick<Place, "indices">,
  neurons: Int32Array,
  count: number,
  rows: number,
): Int32Array {
  const seen = k.indices(rows);
  for (let pair = 0; pair < count; pair++) seen[neurons[pair] as number] = 1;
  const unique: number[] = [];
  seen.forEach((mark, row) => {
    if (mark === 1) unique.push(row);
  });
  return Int32Array.from(unique);
}

/** Column of each pair: that of its neuron among `rows`, or -1. */
export function pairColumns(
  k: Pick<Place, "indices">,
  neurons: Int32Array,
  count: number,
  rows: Int32Array,
  columns: Int32Array,
  rowCount: number,
): Int32Array {
  const columnOf = k.indices(rowCount).fill(-1);
  rows.forEach((row, i) => columnOf[row] = columns[i] as number);
  return Int32Array.from({ length: count }, (_, pair) => columnOf[neurons[pair] as number] as number);
}
