// SPDX-License-Identifier: Apache-2.0
/** The kernels of rows, counted. Tokens fire as many neurons as there is room for pairs. */
import type { RowKernels, SparseBackwardCall, SparseCall } from "../kernels/rows.ts";
import type { Floats } from "../../tensor/tensor.ts";
import { addHostWork, needScratch, type Tally } from "./counts.ts";
import type { FiredRows } from "./fired_rows.ts";
import { phantom } from "./phantom.ts";
import type { ProductPlace } from "./product_scratch.ts";
import { sparseBackwardScratch, sparseForwardScratch, sparseRouteScratch } from "./sparse_scratch.ts";

/** Members of {@linkcode RowKernels} that compute. */
export type CountedRows = Omit<RowKernels, "hostProducts" | "hostBeside" | "hostJobs" | "hostTimes">;

/**
 * See {@linkcode RowKernels}.
 *
 * @param full Whether rows are kept as floats of the reference     @param fired What is known of passes under way
 * @mutates tally, fired
 */
export function rowKernels(
  tally: Tally,
  place: ProductPlace,
  full: boolean,
  fired: FiredRows,
): CountedRows {
  const forward = (y: Floats | null, call: Pick<SparseCall, "shape" | "keys" | "pairs">): number => {
    const { shape, pairs: { neurons: { length: pairs } } } = call;
    fired.choose(call);
    const { tokens, hidden, experts, activeExperts, neurons } = shape;
    const scores = tokens * (experts + activeExperts * neurons / experts);
    addHostWork(tally, "forward", "scores", 2 * hidden * scores, null);
    if (y !== null) addHostWork(tally, "forward", "pairs", 2 * hidden * pairs, y);
    needScratch(
      tally,
      "host",
      Math.max(sparseRouteScratch(place, shape), sparseForwardScratch(place, shape)),
    );
    return pairs;
  };
  const backward = ({ shape, pairs, dh }: SparseBackwardCall): void => {
    const { tokens, hidden, activeExperts, gate } = shape;
    const router = gate === "none" ? 0 : 2 * tokens * activeExperts;
    addHostWork(tally, "backward", "pairs", 2 * hidden * (4 * pairs.neurons.length + router), dh);
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
    rowsGather: (out) => tally.lanes?.host("bytes", 2 * out.byteLength, out),
    rowsAdd: (_to, from) => tally.lanes?.host("bytes", 2 * from.byteLength, null),
    sparseRoute: () => {},
    sparseForward: forward,
    sparseValues: (y, { shape: { hidden }, pairs }) =>
      addHostWork(tally, "forward", "pairs", 2 * hidden * pairs.neurons.length, y),
    sparseForwardAmong(y, { shape, pairs }, united) {
      const { tokens, hidden, experts } = shape;
      addHostWork(tally, "forward", "scores", 2 * hidden * tokens * (experts + united.length), null);
      if (y !== null) addHostWork(tally, "forward", "pairs", 2 * hidden * pairs.neurons.length, y);
      needScratch(tally, "host", sparseForwardScratch(place, shape));
      return pairs.neurons.length;
    },
    sparseTouch: () => {},
    sparseBackward: (call) => backward(call),
    sparseBackwardStep(call) {
      backward(call);
      return [0, 0, 0];
    },
    sparseBranchForward: forward,
    sparseBranchBackward: (call) => backward(call),
    ...fired.kernels,
    adamwRows: () => {},
    adamwRowsCatchUp: () => {},
  };
}
