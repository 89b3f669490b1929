// SPDX-License-Identifier: Apache-2.0
/** What the reference computes on rows, inside its caller. */
import { createJobQueue } from "../../core/job_queue.ts";
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";
import { firedRowKernels } from "../fired_rows.ts";
import { createHostTimes } from "../host_times.ts";
import type { RowKernels } from "../kernels/rows.ts";
import { adamwRowKernels } from "./adamw.ts";
import { fullRows, sparseForwardKernels } from "./sparse.ts";
import { sparseBackwardKernels } from "./sparse_backward.ts";
import { sparseBackwardStepKernels } from "./sparse_backward_step.ts";
import { branchKernels } from "./sparse_branch.ts";

/** Row matrices kept whole in f64, with empty planes. */
const rowMatrixKernels: Pick<
  RowKernels,
  "rowMatrix" | "rowMatrixWrite" | "rowMatrixRead" | "rowsGather" | "rowsAdd"
> = {
  rowMatrix: (rows, cols): RowMatrix => ({
    rows,
    cols,
    hi: new Uint16Array(0),
    lo: new Int16Array(0),
    full: new Float64Array(rows * cols),
  }),
  rowMatrixWrite: (matrix: RowMatrix, values: Floats, firstRow: number) =>
    fullRows(matrix).set(values, firstRow * matrix.cols),
  rowMatrixRead: (out: Floats, matrix: RowMatrix, firstRow: number) =>
    out.set(fullRows(matrix).subarray(firstRow * matrix.cols, firstRow * matrix.cols + out.length)),
  rowsGather: (out, matrix, rows) =>
    rows.forEach((row, i) =>
      out.set(fullRows(matrix).subarray(row * matrix.cols, (row + 1) * matrix.cols), i * matrix.cols)
    ),
  rowsAdd: (to, from, places, cols, firstNew) =>
    places.forEach((place, i) => {
      for (let c = 0; c < cols; c++) {
        const added = from[i * cols + c] as number;
        to[place * cols + c] = place >= firstNew ? added : (to[place * cols + c] as number) + added;
      }
    }),
};

/** Kernels on rows. Their turns and their account begin anew. */
export function rowKernels(): RowKernels {
  return {
    hostProducts: {
      threads: 1,
      operandDType: "f64",
      lanes: 1,
      panelColumns: 2,
      rowBlock: 24,
      depthBytes: 2048,
      inTiles: false,
    },
    hostBeside: false,
    hostJobs: createJobQueue(),
    hostTimes: createHostTimes(),
    ...rowMatrixKernels,
    ...firedRowKernels({ indices: (count) => new Int32Array(count) }),
    ...sparseForwardKernels,
    ...sparseBackwardKernels,
    ...sparseBackwardStepKernels,
    ...branchKernels,
    ...adamwRowKernels,
  };
}
