// SPDX-License-Identifier: Apache-2.0
/** AdamW for dense parameters, and for rows on the host lane, over libmeft. */
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import * as calls from "../../native/calls.ts";
import { writeAdamwParams } from "../../native/structs.ts";
import * as constants from "../../native/symbols.ts";
import type { RowMatrix } from "../../tensor/tensor.ts";
import type { AdamwStep, ModelKernels } from "../kernels/model.ts";
import type { AdamMode, RowKernels, RowMoments } from "../kernels/rows.ts";
import { f32, planes, room } from "./arguments.ts";
import { laneOf, type Lanes } from "./lanes.ts";

const MODES = {
  "dense": constants.MEFT_ADAM_DENSE,
  "lazy-exact": constants.MEFT_ADAM_LAZY_EXACT,
  "lazy": constants.MEFT_ADAM_LAZY,
} as const;

/** See `meft_adamw_dense`. */
export function adamwDenseKernel(lanes: Lanes): Pick<ModelKernels, "adamwDense"> {
  return {
    adamwDense(w, m, v, grad, step): void {
      const count = w.length;
      calls.adamwDense(
        laneOf(lanes, w),
        f32("w", w, count),
        f32("m", m, count),
        f32("v", v, count),
        f32("grad", grad, count),
        f32("lrHistory", step.lrHistory, step.step),
        count,
        adamwParams(step, "dense"),
      );
    },
  };
}

/** See `meft_adamw_rows` and `meft_adamw_rows_catch_up`. */
export function adamwRowKernels({ host, times }: Lanes): Pick<RowKernels, "adamwRows" | "adamwRowsCatchUp"> {
  return {
    adamwRows(matrix, moments, grad, rows, rowCount, mode, step): Awaitable<void> {
      const start = performance.now();
      const done = host.run(
        calls.adamwRows,
        calls.adamwRowsAsync,
        ...stateArguments(matrix, moments),
        f32("grad", grad, rowCount * matrix.cols),
        room("rows", rows, rowCount),
        f32("lrHistory", step.lrHistory, step.step),
        rowCount,
        matrix.rows,
        matrix.cols,
        adamwParams(step, mode),
      );
      return andThen(done, () => void (times.update += performance.now() - start));
    },

    adamwRowsCatchUp(matrix, moments, blocks, blockRows, allMoments, step): Awaitable<void> {
      checkBlocks(matrix, blocks, blockRows);
      return host.run(
        calls.adamwRowsCatchUp,
        calls.adamwRowsCatchUpAsync,
        ...stateArguments(matrix, moments),
        blocks,
        f32("lrHistory", step.lrHistory, step.step),
        blocks.length,
        blockRows,
        matrix.cols,
        Number(allMoments),
        adamwParams(step, "lazy-exact"),
      );
    },
  };
}

/** A row matrix with its optimizer state, as calls take it. */
export function stateArguments(
  matrix: RowMatrix,
  moments: RowMoments,
): [Uint16Array, Int16Array, Float32Array, Float32Array, Int32Array] {
  const count = matrix.rows * matrix.cols;
  const { hi, lo } = planes("matrix", matrix);
  return [
    hi,
    lo,
    f32("m", moments.m, count),
    f32("v", moments.v, count),
    room("lastStep", moments.lastStep, matrix.rows),
  ];
}

/** The library is not told how many rows there are in this call. */
function checkBlocks(matrix: RowMatrix, blocks: Int32Array, blockRows: number): void {
  for (const block of blocks) {
    if (block >= 0 && (block + 1) * blockRows <= matrix.rows) continue;
    throw new RangeError(`block ${block} of ${blockRows} rows leaves a matrix of ${matrix.rows} rows`);
  }
}

/** A new record for each call, as of `sparseParams`. */
export function adamwParams(step: AdamwStep, mode: AdamMode): Uint8Array<ArrayBuffer> {
  return writeAdamwParams({ ...step, mode: MODES[mode] });
}
