// SPDX-License-Identifier: Apache-2.0
/** The kernels of rows, counted. Tokens fire as many neurons as there is room for pairs. */
import { phantom } from "./phantom.ts";
import type { RowKernels, SparseShape } from "../kernels/rows.ts";
import { addWork, needScratch, type Tally } from "./counts.ts";
import type { ProductPlace } from "./product_scratch.ts";
import { sparseBackwardScratch, sparseForwardScratch, sparseRouteScratch } from "./sparse_scratch.ts";

/** Members of {@linkcode RowKernels} that compute. */
export type CountedRows = Omit<RowKernels, "hostProducts" | "hostBeside" | "hostJobs" | "hostTimes">;

/** See {@linkcode RowKernels}. @param full Whether rows are kept as floats of the reference. @mutates tally */
export function rowKernels(tally: Tally, place: ProductPlace, full: boolean): CountedRows {
  const forward = (shape: SparseShape, pairs: number, sums: boolean): number => {
    const { tokens, hidden, experts, activeExperts, neurons } = shape;
    const scores = tokens * (experts + activeExperts * neurons / experts);
    addWork(tally, "forward", 2 * hidden * (scores + (sums ? pairs : 0)));
    needScratch(
      tally,
      "host",
      Math.max(sparseRouteScratch(place, shape), sparseForwardScratch(place, shape)),
    );
    return pairs;
  };
  const backward = (shape: SparseShape, pairs: number): void => {
    const { tokens, hidden, activeExperts, gate } = shape;
    const router = gate === "none" ? 0 : 2 * tokens * activeExperts;
    addWork(tally, "backward", 2 * hidden * (4 * pairs + router));
    needScratch(tally, "host", sparseBackwardScratch(place, shape));
  };
  return {
    rowMatrix: (rows, cols) => ({
      rows,
      cols,
      hi: phantom("bf16", full ? 0 : rows * cols),
      lo: phantom("i16", full ? 0 : rows * cols),
      full: full ? phantom("f64", rows * cols) : null,
    }),
    rowMatrixWrite: () => {},
    rowMatrixRead: () => {},
    rowsGather: () => {},
    rowsAdd: () => {},
    sparseRoute: () => {},
    sparseForward: (_y, { shape, pairs }) => forward(shape, pairs.neurons.length, true),
    sparseTouch: () => {},
    sparseBackward: ({ shape, pairs }) => backward(shape, pairs.neurons.length),
    sparseBackwardStep({ shape, pairs }) {
      backward(shape, pairs.neurons.length);
      return [0, 0, 0];
    },
    sparseBranchForward: (y, { shape, pairs }) => forward(shape, pairs.neurons.length, y !== null),
    sparseBranchBackward: ({ shape, pairs }) => backward(shape, pairs.neurons.length),
    adamwRows: () => {},
    adamwRowsCatchUp: () => {},
  };
}
