// SPDX-License-Identifier: Apache-2.0
/** What is told of pairs that fired in host memory, the same by every backend that computes. */
import { gateGradients } from "./gate_gradients.ts";
import type { RowKernels } from "./kernels/rows.ts";

/** See {@linkcode RowKernels}. */
export const firedRowKernels: Pick<RowKernels, "firedRows" | "pairColumns" | "gateGradients"> = {
  firedRows({ pairs, pairCount, shape }) {
    const seen = new Uint8Array(shape.neurons);
    for (let pair = 0; pair < pairCount; pair++) seen[pairs.neurons[pair] as number] = 1;
    const fired: number[] = [];
    seen.forEach((mark, row) => {
      if (mark === 1) fired.push(row);
    });
    return Int32Array.from(fired);
  },
  pairColumns({ pairs, pairCount, shape }, rows, columns) {
    const columnOf = new Int32Array(shape.neurons).fill(-1);
    rows.forEach((row, i) => columnOf[row] = columns[i] as number);
    const column = (_: unknown, pair: number): number => columnOf[pairs.neurons[pair] as number] as number;
    return Int32Array.from({ length: pairCount }, column);
  },
  gateGradients,
};
