// SPDX-License-Identifier: Apache-2.0
/** Row matrices with optimizer state for the tests of meft_adamw_*, and the formula in f64. */
import { assertSame } from "../compare.ts";
import { adamwRows, adamwRowsCatchUp, planesJoin, planesSplit } from "../../lib/native/calls.ts";
import type { NativeContext } from "../../lib/native/context.ts";
import { type AdamwParams, writeAdamwParams } from "../../lib/native/structs.ts";
import { bitsOf } from "./kernel_check.ts";

export const DENSE = 0, LAZY_EXACT = 1, LAZY = 2;

/** Hyper-parameters with a step that arithmetic can use. */
export type Hyper = AdamwParams & { readonly step: number };

/** Hyper-parameters; override what the test is about. */
export function hyper(options: Partial<Hyper>): Hyper {
  return {
    mode: DENSE,
    step: 1,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: 0,
    gradScale: 1,
    ...options,
  };
}

/** One element after one step, in f64. */
export function oracleStep(w: number, m: number, v: number, grad: number, lr: number, p: Hyper) {
  const g = p.gradScale * grad;
  const m1 = p.beta1 * m + (1 - p.beta1) * g;
  const v1 = p.beta2 * v + (1 - p.beta2) * g * g;
  const denominator = Math.sqrt(v1) / Math.sqrt(1 - p.beta2 ** p.step) + p.eps;
  const update = lr / (1 - p.beta1 ** p.step) * m1 / denominator;
  return { w: w * (1 - lr * p.weightDecay) - update, m: m1, v: v1, update };
}

/** A split-plane matrix with moments, all owned by the test. */
export class RowState {
  readonly hi: Uint16Array;
  readonly lo: Int16Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
  readonly lastStep: Int32Array;

  constructor(lane: NativeContext, weights: Float32Array, readonly rows: number, readonly hidden: number) {
    const count = rows * hidden;
    this.hi = new Uint16Array(count);
    this.lo = new Int16Array(count);
    this.m = new Float32Array(count);
    this.v = new Float32Array(count);
    this.lastStep = new Int32Array(rows);
    planesSplit(lane, this.hi, this.lo, weights, count);
  }

  /** Gradient row i belongs to rows[i]. */
  step(
    lane: NativeContext,
    rows: readonly number[],
    grad: Float32Array,
    lrHistory: Float32Array,
    p: AdamwParams,
  ): void {
    const { hi, lo, m, v, lastStep, hidden } = this;
    const params = writeAdamwParams(p);
    const picked = Int32Array.from(rows);
    adamwRows(lane, hi, lo, m, v, lastStep, grad, picked, lrHistory, rows.length, this.rows, hidden, params);
  }

  catchUp(
    lane: NativeContext,
    blocks: readonly number[],
    blockRows: number,
    lrHistory: Float32Array,
    allMoments: boolean,
    p: AdamwParams,
  ): void {
    const { hi, lo, m, v, lastStep, hidden } = this;
    const params = writeAdamwParams(p);
    const picked = Int32Array.from(blocks);
    const count = blocks.length;
    adamwRowsCatchUp(
      lane,
      hi,
      lo,
      m,
      v,
      lastStep,
      picked,
      lrHistory,
      count,
      blockRows,
      hidden,
      Number(allMoments),
      params,
    );
  }

  weights(lane: NativeContext): Float32Array {
    const joined = new Float32Array(this.hi.length);
    planesJoin(lane, joined, this.hi, this.lo, joined.length);
    return joined;
  }
}

/** Weights and both moments have the same bits, row by row. */
export function assertSameRows(
  label: string,
  lane: NativeContext,
  actual: RowState,
  expected: RowState,
  rows: readonly number[],
): void {
  const { hidden } = actual;
  const both = [actual, expected].map((state) =>
    [state.weights(lane), state.m, state.v].map((array) => bitsOf(array))
  );
  for (const row of rows) {
    ["w", "m", "v"].forEach((name, i) => {
      const [a, e] = both.map((arrays) => arrays[i]?.subarray(row * hidden, (row + 1) * hidden));
      assertSame(a, e, `${label}: ${name} of row ${row}`);
    });
  }
}
