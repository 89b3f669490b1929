// SPDX-License-Identifier: Apache-2.0
/** AdamW (Loshchilov and Hutter, 2019) of the reference backend, in f64, dense and by rows. */
import type { Floats, RowMatrix } from "../../tensor/tensor.ts";
import type { AdamwStep, ModelKernels } from "../kernels/model.ts";
import type { AdamMode, RowKernels, RowMoments } from "../kernels/rows.ts";
import { at } from "./linear.ts";
import { fullRows } from "./sparse.ts";

/** A range of one parameter with its moments. */
interface Parameter {
  readonly w: Floats;
  readonly m: Floats;
  readonly v: Floats;
}

/**
 * Step number t (from 1) of elements [begin, end), with gradient(i) of element begin + i.
 * m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
 * w = w (1 - lr wd) - lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps).
 */
function takeStep(
  { w, m, v }: Parameter,
  begin: number,
  end: number,
  t: number,
  hyper: AdamwStep,
  gradient: (i: number) => number,
): void {
  const { beta1, beta2, eps, weightDecay } = hyper;
  const lr = at(hyper.lrHistory, t - 1);
  const stepSize = lr / (1 - beta1 ** t);
  const vScale = Math.sqrt(1 - beta2 ** t);
  for (let i = begin; i < end; i++) {
    const g = gradient(i - begin);
    const mi = m[i] = beta1 * at(m, i) + (1 - beta1) * g;
    const vi = v[i] = beta2 * at(v, i) + (1 - beta2) * g * g;
    w[i] = at(w, i) * (1 - lr * weightDecay) - stepSize * mi / (Math.sqrt(vi) / vScale + eps);
  }
}

const noGradient = () => 0;

/** Steps that row missed, up to and including `step`, without gradient: exactly what dense AdamW would have done. */
function replay(
  row: number,
  cols: number,
  parameter: Parameter,
  moments: RowMoments,
  step: number,
  hyper: AdamwStep,
) {
  for (let t = Math.abs(at(moments.lastStep, row)) + 1; t <= step; t++) {
    takeStep(parameter, row * cols, (row + 1) * cols, t, hyper, noGradient);
  }
}

/** Closed-form decay over the missed steps, without the drift that momentum would have caused; this step's rate for all. */
function decay(row: number, cols: number, { w, m, v }: Parameter, moments: RowMoments, hyper: AdamwStep) {
  const missed = hyper.step - 1 - at(moments.lastStep, row);
  const kept = (1 - at(hyper.lrHistory, hyper.step - 1) * hyper.weightDecay) ** missed;
  for (let i = row * cols; i < (row + 1) * cols; i++) {
    m[i] = at(m, i) * hyper.beta1 ** missed;
    v[i] = at(v, i) * hyper.beta2 ** missed;
    w[i] = at(w, i) * kept;
  }
}

function adamwDense(w: Floats, m: Floats, v: Floats, grad: Floats, hyper: AdamwStep): void {
  takeStep({ w, m, v }, 0, w.length, hyper.step, hyper, (i) => hyper.gradScale * at(grad, i));
}

function adamwRows(
  matrix: RowMatrix,
  moments: RowMoments,
  grad: Floats,
  rows: Int32Array,
  rowCount: number,
  mode: AdamMode,
  hyper: AdamwStep,
): void {
  const { cols } = matrix;
  const parameter = { w: fullRows(matrix), m: moments.m, v: moments.v };
  const touched = rows.subarray(0, rowCount);
  touched.forEach((row, slot) => {
    if (mode === "lazy-exact") replay(row, cols, parameter, moments, hyper.step - 1, hyper);
    if (mode === "lazy") decay(row, cols, parameter, moments, hyper);
    const gradient = (i: number) => hyper.gradScale * at(grad, slot * cols + i);
    takeStep(parameter, row * cols, (row + 1) * cols, hyper.step, hyper, gradient);
    moments.lastStep[row] = hyper.step;
  });
  if (mode !== "dense") return;
  const withGradient = new Set(touched);
  for (let row = 0; row < matrix.rows; row++) {
    if (!withGradient.has(row)) {
      takeStep(parameter, row * cols, (row + 1) * cols, hyper.step, hyper, noGradient);
    }
    moments.lastStep[row] = hyper.step;
  }
}

function adamwRowsCatchUp(
  matrix: RowMatrix,
  moments: RowMoments,
  blocks: Int32Array,
  blockRows: number,
  _allMoments: boolean, // f64 rows are always made wholly current
  hyper: AdamwStep,
): void {
  const parameter = { w: fullRows(matrix), m: moments.m, v: moments.v };
  for (const block of blocks) {
    const end = Math.min((block + 1) * blockRows, matrix.rows);
    for (let row = block * blockRows; row < end; row++) {
      replay(row, matrix.cols, parameter, moments, hyper.step, hyper);
      moments.lastStep[row] = hyper.step;
    }
  }
}

/** See `meft_adamw_dense`. */
export const adamwDenseKernel: Pick<ModelKernels, "adamwDense"> = { adamwDense };

/** See `meft_adamw_rows` and `meft_adamw_rows_catch_up`. */
export const adamwRowKernels = { adamwRows, adamwRowsCatchUp } satisfies Partial<RowKernels>;
