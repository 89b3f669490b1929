// SPDX-License-Identifier: Apache-2.0
/** The reference backend: every kernel in plain TypeScript and f64. The oracle of all others, and meant to be read. */
import { dropout, randomNormal } from "../../core/rng.ts";
import { Arena } from "../../native/arena.ts";
import { createLedger, type Ledger } from "../../native/ledger.ts";
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";
import { createJobQueue } from "../../core/job_queue.ts";
import { directLink } from "../host_link.ts";
import { createHostTimes } from "../host_times.ts";
import type { Kernels, OwnMemory } from "../kernels.ts";
import { pairMatrixKernels } from "../pair_matrix.ts";
import { adamwKernels } from "./adamw.ts";
import { attentionKernels } from "./attention.ts";
import { elementwiseKernels } from "./elementwise.ts";
import { linearKernels } from "./linear.ts";
import { branchKernels } from "./sparse_branch.ts";
import { fullRows, sparseForwardKernels } from "./sparse.ts";
import { sparseBackwardKernels } from "./sparse_backward.ts";
import { sparseBackwardStepKernels } from "./sparse_backward_step.ts";

const ARENA_BLOCK_BYTES = 1 << 20;

/** Row matrices kept whole in f64, with empty planes. */
const rowMatrixKernels: Pick<
  Kernels,
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

/**
 * Kernels of the reference backend. Weights may be stored in any dtype; everything computed is f64. Slow: for tests,
 * for study, and for models of a few million weights at most.
 */
export function referenceKernels(options: { readonly ledger?: Ledger } = {}): Kernels {
  const ledger = options.ledger ?? createLedger();
  let twin: Kernels | null = null;
  const first: Kernels = {
    backend: "reference",
    float: "f64",
    compute: "f64",
    hostProducts: { threads: 1, operandDType: "f64", lanes: 1 },
    activationDType: "f64",
    ledger,
    hostBeside: false,
    hostJobs: createJobQueue(),
    hostTimes: createHostTimes(),
    ...ownMemory(ledger),
    twin: () => twin ??= { ...first, ...ownMemory(ledger) },
    device: null,
    deviceClock: null,
    floats: (count) => new Float64Array(count),
    modelFloats: (count) => new Float64Array(count),
    modelActivations: (count) => new Float64Array(count),
    copy: (to, from) => to.set(from),
    zero: (x) => void x.fill(0),
    read: (x) => x,
    randomNormal,
    dropout,
    ...rowMatrixKernels,
    ...linearKernels,
    ...elementwiseKernels,
    ...attentionKernels,
    ...sparseForwardKernels,
    ...sparseBackwardKernels,
    ...sparseBackwardStepKernels,
    ...adamwKernels,
    ...branchKernels,
    ...pairMatrixKernels,
  };
  return first;
}

function ownMemory(ledger: Ledger): OwnMemory {
  const [arena, hostArena] = [new Arena(ledger, ARENA_BLOCK_BYTES), new Arena(ledger, ARENA_BLOCK_BYTES)];
  return {
    arena,
    arenaFloats: (count) => arena.f64(count),
    arenaActivations: (count) => arena.f64(count),
    hostArena,
    hostFloats: (count) => hostArena.f64(count),
    link: directLink(),
  };
}
