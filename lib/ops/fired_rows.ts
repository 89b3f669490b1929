// SPDX-License-Identifier: Apache-2.0
/** What is told of pairs that fired in host memory, the same by every backend that computes. */
import { gateGradients } from "./gate_gradients.ts";
import type { Place } from "./kernels/place.ts";
import type { RowKernels } from "./kernels/rows.ts";
import { createRowCache } from "./row_cache.ts";

/** Members of {@linkcode RowKernels} that are told of pairs. */
export type FiredRowKernels = Pick<RowKernels, "firedRows" | "pairColumns" | "rowCache" | "gateGradients">;

/** See {@linkcode RowKernels}. @param k Gives the memory for what is written down of rows and slots */
export const firedRowKernels = (k: Pick<Place, "indices">): FiredRowKernels => ({
  firedRows({ pairs, pairCount, shape }) {
    const seen = k.indices(shape.neurons);
    for (let pair = 0; pair < pairCount; pair++) seen[pairs.neurons[pair] as number] = 1;
    const fired: number[] = [];
    seen.forEach((mark, row) => {
      if (mark === 1) fired.push(row);
    });
    return Int32Array.from(fired);
  },
  pairColumns({ pairs, pairCount, shape }, rows, columns) {
    const columnOf = k.indices(shape.neurons).fill(-1);
    rows.forEach((row, i) => columnOf[row] = columns[i] as number);
    const column = (_: unknown, pair: number): number => columnOf[pairs.neurons[pair] as number] as number;
    return Int32Array.from({ length: pairCount }, column);
  },
  rowCache: (capacity, rows) => createRowCache(k, capacity, rows),
  gateGradients,
});
