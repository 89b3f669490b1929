// SPDX-License-Identifier: Apache-2.0
/** The reference backend: every kernel in plain TypeScript and f64. The oracle of all others, and meant to be read. */
import { dropout, randomNormal } from "../../core/rng.ts";
import { Arena } from "../../native/arena.ts";
import { createLedger, type Ledger } from "../../native/ledger.ts";
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";
import type { Kernels } from "../kernels.ts";
import { adamwKernels } from "./adamw.ts";
import { attentionKernels } from "./attention.ts";
import { elementwiseKernels } from "./elementwise.ts";
import { linearKernels } from "./linear.ts";
import { fullRows, sparseForwardKernels } from "./sparse.ts";
import { sparseBackwardKernels } from "./sparse_backward.ts";

const ARENA_BLOCK_BYTES = 1 << 20;

/** Row matrices kept whole in f64, with empty planes. */
const rowMatrixKernels: Pick<Kernels, "rowMatrix" | "rowMatrixWrite" | "rowMatrixRead"> = {
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
};

/**
 * Kernels of the reference backend. Weights may be stored in any dtype; everything computed is f64. Slow: for tests,
 * for study, and for models of a few million weights at most.
 */
export function referenceKernels(options: { readonly ledger?: Ledger } = {}): Kernels {
  const ledger = options.ledger ?? createLedger();
  const arena = new Arena(ledger, ARENA_BLOCK_BYTES);
  return {
    backend: "reference",
    float: "f64",
    compute: "f64",
    arena,
    ledger,
    floats: (count) => new Float64Array(count),
    arenaFloats: (count) => arena.f64(count),
    randomNormal,
    dropout,
    ...rowMatrixKernels,
    ...linearKernels,
    ...elementwiseKernels,
    ...attentionKernels,
    ...sparseForwardKernels,
    ...sparseBackwardKernels,
    ...adamwKernels,
  };
}
