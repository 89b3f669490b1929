// SPDX-License-Identifier: Apache-2.0
/** Row matrices as planes, over libmeft. */
import * as calls from "../../native/calls.ts";
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import { hostArray } from "../../native/host_memory.ts";
import { MEFT_BF16, MEFT_F32 } from "../../native/symbols.ts";
import type { RowKernels } from "../kernels/rows.ts";
import { f32, planes, room } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";

/** Members of {@linkcode RowKernels} that this file gives. */
type RowMatrixKernels = Pick<
  RowKernels,
  "rowMatrix" | "rowMatrixWrite" | "rowMatrixRead" | "rowsGather" | "rowsAdd"
>;

/** See `meft_planes_*` and `meft_rows_*`. */
export function rowMatrixKernels({ inline, host, times }: Lanes): RowMatrixKernels {
  return {
    rowMatrix(rows, cols): RowMatrix {
      const what = `the rows of a matrix of ${rows} by ${cols}`;
      const hi = hostArray(Uint16Array, rows * cols, what);
      return { rows, cols, hi, lo: hostArray(Int16Array, rows * cols, what), full: null };
    },

    rowMatrixWrite(matrix, values, firstRow): void {
      const [begin, end] = range(matrix, values, firstRow);
      const [hi, lo] = [matrix.hi.subarray(begin, end), matrix.lo.subarray(begin, end)];
      calls.planesSplit(inline, hi, lo, f32("values", values, end - begin), end - begin);
    },

    rowMatrixRead(out, matrix, firstRow): void {
      const [begin, end] = range(matrix, out, firstRow);
      const [hi, lo] = [matrix.hi.subarray(begin, end), matrix.lo.subarray(begin, end)];
      calls.planesJoin(inline, f32("out", out, end - begin), hi, lo, end - begin);
    },

    rowsGather(out, matrix, rows): Awaitable<void> {
      const count = rows.length * matrix.cols;
      const { hi, lo } = planes("matrix", matrix);
      const start = performance.now();
      const done = host.run(
        calls.rowsGather,
        calls.rowsGatherAsync,
        out instanceof Uint16Array ? room("out", out, count) : f32("out", out, count),
        hi,
        lo,
        rows,
        rows.length,
        matrix.rows,
        matrix.cols,
        out instanceof Uint16Array ? MEFT_BF16 : MEFT_F32,
      );
      return andThen(done, () => void (times.values += performance.now() - start));
    },

    rowsAdd(to, from, places, cols, firstNew): Awaitable<void> {
      const start = performance.now();
      const done = host.run(
        calls.rowsAdd,
        calls.rowsAddAsync,
        f32("to", to, 0),
        f32("from", from, places.length * cols),
        places,
        places.length,
        cols > 0 ? Math.floor(to.length / cols) : 0,
        cols,
        firstNew,
      );
      return andThen(done, () => void (times.backward += performance.now() - start));
    },
  };
}

/** Elements of the matrix that `values`, from row `firstRow`, stands for. */
function range(matrix: RowMatrix, values: Floats, firstRow: number): [number, number] {
  planes("matrix", matrix);
  const begin = firstRow * matrix.cols;
  const end = begin + values.length;
  if (Number.isInteger(firstRow) && firstRow >= 0 && end <= matrix.rows * matrix.cols) return [begin, end];
  throw new RangeError(
    `${values.length} values from row ${firstRow} leave a matrix of ${matrix.rows} rows of ${matrix.cols}`,
  );
}
