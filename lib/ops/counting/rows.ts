// SPDX-License-Identifier: Apache-2.0
/** The kernels of rows, counted. Tokens fire as many neurons as there is room for pairs. */
import type { RowKernels, SparseBackwardCall, SparsePairs, SparseShape } from "../kernels/rows.ts";
import type { Floats } from "../../tensor/tensor.ts";
import { unitedNeurons } from "../sparse.ts";
import { addHostWork, needScratch, type Tally } from "./counts.ts";
import { phantom } from "./phantom.ts";
import type { ProductPlace } from "./product_scratch.ts";
import { sparseBackwardScratch, sparseForwardScratch, sparseRouteScratch } from "./sparse_scratch.ts";

/** Members of {@linkcode RowKernels} that compute. */
export type CountedRows = Omit<RowKernels, "hostProducts" | "hostBeside" | "hostJobs" | "hostTimes">;

/** See {@linkcode RowKernels}. @param full Whether rows are kept as floats of the reference. @mutates tally */
export function rowKernels(tally: Tally, place: ProductPlace, full: boolean): CountedRows {
  const forward = (y: Floats | null, shape: SparseShape, pairs: number): number => {
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
    sparseForward: (y, { shape, pairs }) => forward(y, shape, pairs.neurons.length),
    sparseTouch: () => {},
    sparseBackward: (call) => backward(call),
    sparseBackwardStep(call) {
      backward(call);
      return [0, 0, 0];
    },
    sparseBranchForward: (y, { shape, pairs }) => forward(y, shape, pairs.neurons.length),
    sparseBranchBackward: (call) => backward(call),
    firedRows: drawnRows(),
    pairColumns: ({ pairCount }) => phantom("i32", pairCount),
    gateGradients: () => {},
    adamwRows: () => {},
    adamwRowsCatchUp: () => {},
  };
}

/** Most rows of a layer that are drawn, and whose places are written down: beyond that a device has room for none. */
export const DRAWN_ROWS = 1 << 19;

/**
 * Rows that fire, as many as are to be expected were choices spread evenly: other ones for other pairs, so that what passes have
 * in common is what is to be expected too.
 */
function drawnRows(): RowKernels["firedRows"] {
  const drawn = new WeakMap<SparsePairs, Int32Array>();
  let draws = 0;
  return ({ shape, pairs }) => {
    const { neurons } = shape;
    if (neurons > DRAWN_ROWS) return new Int32Array(0);
    const rows = drawn.get(pairs) ?? spreadRows(Math.min(neurons, unitedNeurons(shape)), neurons, draws++);
    drawn.set(pairs, rows);
    return rows;
  };
}

/** The draw of that number: `count` of `rows`, increasing: those at which steps around a circle come out below `count`. */
function spreadRows(count: number, rows: number, draw: number): Int32Array {
  let step = 1 + Math.floor(rows * ((draw + 1) * GOLDEN % 1));
  while (greatestDivisor(step, rows) > 1) step++;
  const spread = new Int32Array(count);
  let place = Math.floor(rows * ((draw + 1) * Math.SQRT2 % 1));
  for (let row = 0, i = 0; row < rows; row++) {
    place = (place + step) % rows;
    if (place < count) spread[i++] = row;
  }
  return spread;
}

/** Whose multiples are spread evenly. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}
