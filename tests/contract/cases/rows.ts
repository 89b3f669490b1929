// SPDX-License-Identifier: Apache-2.0
/** Contract cases of row matrices and AdamW, dense and by rows. */
import type { AdamMode, RowMoments } from "../../../lib/ops/kernels/rows.ts";
import type { AdamwStep } from "../../../lib/ops/kernels/model.ts";
import type { Floats } from "../../../lib/tensor/tensor.ts";
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { now } from "../../now.ts";

const ROWS = 12;
const STEPS = 9;

/** Hyper-parameters that f32 holds exactly, so that every backend means the same numbers. */
function hyper(
  stage: Stage,
  step: number,
  lr: (step: number) => number,
  options: Pick<AdamwStep, "weightDecay" | "gradScale"> = { weightDecay: 0.0625, gradScale: 0.5 },
): AdamwStep {
  const lrHistory = stage.hostValues(Array.from({ length: step }, (_, i) => Math.fround(lr(i + 1))));
  const [beta1, beta2, eps] = [0.9, 0.999, 1e-8].map(Math.fround) as [number, number, number];
  return { step, beta1, beta2, eps, lrHistory, ...options };
}

const decaying = (step: number) => 0.05 / step;

/** A step of a dense parameter. */
interface DenseCase extends Pick<AdamwStep, "step" | "weightDecay" | "gradScale"> {
  readonly count: number;
}

function dense(stage: Stage, { count, step, ...options }: DenseCase): Outputs {
  const [w, m] = [stage.normal("w", count), stage.normal("m", count, 0.1)];
  const v = stage.values(now(stage.k.read(stage.normal("v", count, 0.1))).map((x) => x * x));
  stage.k.adamwDense(w, m, v, stage.normal("grad", count), hyper(stage, step, decaying, options));
  return { w, m, v };
}

/** w moves by lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps): by the magnitudes of m's two terms. */
function denseMagnitudes(stage: Stage, { count, step, ...options }: DenseCase, oracle: Outputs): Outputs {
  const { beta1, beta2, eps, gradScale, lrHistory } = hyper(stage, step, decaying, options);
  const stepSize = (lrHistory[step - 1] as number) / (1 - beta1 ** step);
  const grad = absolute(stage.normal("grad", count));
  const m = absolute(stage.normal("m", count, 0.1))
    .map((x, i) => beta1 * x + (1 - beta1) * gradScale * (grad[i] as number));
  const v = oracle.v as Float64Array;
  const w = absolute(stage.normal("w", count)).map((x, i) =>
    x + 3 * stepSize * (m[i] as number) / (Math.sqrt((v[i] as number) / (1 - beta2 ** step)) + eps)
  );
  return { w, m, v };
}

const DENSE: readonly DenseCase[] = [
  ...[[1, 0, 1], [2, 0.0625, 0.5], [7, 0.25, 1], [1000, 0.0625, 0.5], [3000, 0, 0.5]].flatMap((
    [step, weightDecay, gradScale],
  ) =>
    [0, 1, 3, 15, 16, 17, 37, 1009]
      .map((count) => ({ count, step, weightDecay, gradScale } as DenseCase))
  ),
  { count: 40_001, step: 7, weightDecay: 0.25, gradScale: 0.5 }, // more than a task takes
];

/** Rows with a gradient at each step; some steps have none, some rows never one. */
function touched(step: number): number[] {
  return [7, 0, 3, 10, 4].filter((row) => (row + step * step) % 3 === 0);
}

async function rows(stage: Stage, cols: number, mode: AdamMode, flush: boolean): Promise<Outputs> {
  const { k } = stage;
  const matrix = stage.rowMatrix("w", ROWS, cols);
  const moments: RowMoments = {
    m: stage.hostValues(new Float64Array(ROWS * cols)),
    v: stage.hostValues(new Float64Array(ROWS * cols)),
    lastStep: stage.intOutput(ROWS).fill(0),
  };
  for (let step = 1; step <= STEPS; step++) {
    const mine = Int32Array.from(touched(step));
    const grad = stage.hostNormal(`grad ${step}`, mine.length * cols);
    await k.adamwRows(matrix, moments, grad, mine, mine.length, mode, hyper(stage, step, decaying));
  }
  if (flush) {
    // Blocks of three rows, in increasing order, some of them current already.
    for (const blocks of [[0, 2], [0, 1, 3]]) {
      const upTo = hyper(stage, STEPS, decaying);
      await k.adamwRowsCatchUp(matrix, moments, Int32Array.from(blocks), 3, true, upTo);
    }
  }
  const w = stage.hostOutput(ROWS * cols);
  k.rowMatrixRead(w, matrix, 0);
  return {
    w,
    m: moments.m,
    v: moments.v,
    ...(flush || mode === "dense" ? { lastStep: moments.lastStep } : {}),
  };
}

/**
 * m and v are means of gradients and their squares, so the largest of each bounds their terms. A step moves w by at most
 * lr (1-b1)/sqrt(1-b2), about 3.2 lr, and an error of m counts as much; nine steps of it.
 */
function rowsMagnitudes(stage: Stage, cols: number): Outputs {
  const draws = Array.from(
    { length: STEPS },
    (_, i) => stage.normal(`grad ${i + 1}`, touched(i + 1).length * cols),
  );
  const largest = Math.max(...draws.map((grad) => Math.max(0, ...absolute(grad)))) * 0.5;
  const w = new Float64Array(ROWS * cols);
  stage.k.rowMatrixRead(w, stage.rowMatrix("w", ROWS, cols), 0);
  const count = ROWS * cols;
  return {
    w: absolute(w).map((x) => x + STEPS * 0.05 * 10),
    m: new Float64Array(count).fill(largest * 0.2),
    v: new Float64Array(count).fill(largest ** 2 * 0.002),
  };
}

function planes(stage: Stage, rowCount: number, cols: number): Outputs {
  const matrix = stage.rowMatrix("w", rowCount, cols);
  const middle = Math.floor(rowCount / 2);
  if (rowCount > 0) stage.k.rowMatrixWrite(matrix, stage.hostNormal("row", cols), middle);
  const [all, one] = [stage.hostOutput(rowCount * cols), stage.hostOutput(rowCount > 0 ? cols : 0)];
  stage.k.rowMatrixRead(all, matrix, 0);
  if (rowCount > 0) stage.k.rowMatrixRead(one, matrix, middle);
  return { all, one };
}

const GATHERED = Int32Array.of(11, 0, 7, 3);

async function gathered(stage: Stage, cols: number, rows: Int32Array): Promise<Outputs> {
  const out = stage.hostOutput(rows.length * cols);
  await stage.k.rowsGather(out, stage.rowMatrix("w", ROWS, cols), rows);
  return { out };
}

/** Places from 7 on are new: what is there may be anything. */
async function added(stage: Stage, cols: number): Promise<Outputs> {
  const drawn = stage.hostNormal("to", ROWS * cols), from = stage.hostNormal("from", GATHERED.length * cols);
  const to = stage.hostValues(drawn.fill(NaN, 7 * cols));
  await stage.k.rowsAdd(to, from, GATHERED, cols, 7);
  return { to };
}

/** Each sum is rounded once, and what is written not at all. */
async function addedMagnitudes(stage: Stage, cols: number): Promise<Outputs> {
  const { to } = await added(stage, cols);
  return { to: absolute(to as Floats).fill(0, 7 * cols) };
}

/** No rows of a matrix that has none. */
async function noRows(stage: Stage, mode: AdamMode): Promise<Outputs> {
  const matrix = stage.rowMatrixOf([], 0, 4), none = new Int32Array(0);
  const moments: RowMoments = {
    m: stage.hostOutput(0),
    v: stage.hostOutput(0),
    lastStep: stage.intOutput(0),
  };
  const step = hyper(stage, 1, decaying);
  await stage.k.adamwRows(matrix, moments, stage.hostNormal("grad", 0), none, 0, mode, step);
  await stage.k.adamwRowsCatchUp(matrix, moments, none, 2, true, step);
  return { m: moments.m, lastStep: moments.lastStep };
}

/** Cases of this family. */
export const rowCases: readonly KernelCase[] = [
  ...[[0, 3], [1, 1], [5, 7], [3, 33]].map(([rowCount, cols]): KernelCase => ({
    name: `rowMatrixWrite() and rowMatrixRead() of (${rowCount},${cols}) keep every bit`,
    run: (stage) => planes(stage, rowCount as number, cols as number),
  })),
  ...[0, 1, 7, 16, 33, 257].flatMap((cols) =>
    [GATHERED, new Int32Array(0)].map((rows): KernelCase => ({
      name: `rowsGather() of ${rows.length} rows of ${cols} columns keeps every bit`,
      run: (stage) => gathered(stage, cols, rows),
    }))
  ),
  ...[1, 7, 16, 33, 257].map((cols): KernelCase => ({
    name: `rowsAdd() of ${cols} columns`,
    run: (stage) => added(stage, cols),
    magnitudes: (stage) => addedMagnitudes(stage, cols),
    multiple: 0.5,
  })),
  ...(["dense", "lazy", "lazy-exact"] as const).map((mode): KernelCase => ({
    name: `adamwRows() and adamwRowsCatchUp() of no rows, ${mode}`,
    run: (stage) => noRows(stage, mode),
  })),
  ...DENSE.map((test): KernelCase => ({
    name: `adamwDense() of ${test.count} elements at step ${test.step}`,
    run: (stage) => dense(stage, test),
    magnitudes: (stage, oracle) => denseMagnitudes(stage, test, oracle),
    multiple: 2,
  })),
  ...[1, 7, 16, 33].flatMap((cols) =>
    ([["dense", false], ["lazy", false], ["lazy-exact", false], ["lazy-exact", true]] as const).map((
      [mode, flush],
    ): KernelCase => ({
      name: `adamwRows() of ${cols} columns, ${mode}${flush ? ", then adamwRowsCatchUp()" : ""}`,
      run: (stage) => rows(stage, cols, mode, flush),
      magnitudes: (stage) => rowsMagnitudes(stage, cols),
    }))
  ),
];
