// SPDX-License-Identifier: Apache-2.0
/** Norms of the reference backend, in f64. */
import type { Floats } from "../../tensor/tensor.ts";
import type { ModelKernels, NormCall } from "../kernels/model.ts";
import { at, dot } from "./linear.ts";
import { weightValues } from "./weights.ts";

/** See `meft_norm_*`. */
export const normKernels: Pick<ModelKernels, "normForward" | "normBackward"> = {
  normForward(y, stats, x, norm, rows) {
    const [weight, bias] = [factors(norm), norm.bias && weightValues(norm.bias)];
    const D = norm.weight.cols;
    for (let t = 0; t < rows; t++) {
      const row = Float64Array.from(x.subarray(t * D, (t + 1) * D));
      const mean = norm.kind === "layer" ? row.reduce((sum, value) => sum + value, 0) / D : 0;
      row.forEach((value, i) => row[i] = value - mean);
      const r = 1 / Math.sqrt(dot(row, 0, row, 0, D) / D + norm.eps);
      writeStats(stats, norm, rows, t, mean, r);
      row.forEach((value, i) => y[t * D + i] = value * r * at(weight, i) + (bias ? at(bias, i) : 0));
    }
  },

  normBackward(dx, dnorm, dy, x, stats, norm, rows, accumulate) {
    const weight = factors(norm);
    const D = norm.weight.cols;
    for (let t = 0; t < rows; t++) {
      const { mean, r } = readStats(stats, norm, rows, t);
      const row = x.subarray(t * D, (t + 1) * D);
      const n = Float64Array.from(row, (value) => (value - mean) * r);
      const wdy = n.map((_, i) => at(weight, i) * at(dy, t * D + i));
      // Each term is divided: the bits of runs that were trained by the reference.
      const alongN = wdy.reduce((sum, value, i) => sum + value * (at(row, i) - mean) * r / D, 0);
      const alongOnes = norm.kind === "layer" ? wdy.reduce((sum, value) => sum + value, 0) / D : 0;
      for (let i = 0; i < D; i++) {
        const [to, ni] = [t * D + i, at(n, i)];
        const change = r * (at(wdy, i) - alongOnes - ni * alongN);
        const { weight: dweight, bias: dbias } = dnorm;
        if (dweight) dweight[i] = at(dweight, i) + at(dy, to) * ni;
        if (dbias) dbias[i] = at(dbias, i) + at(dy, to);
        dx[to] = (accumulate ? at(dx, to) : 0) + change;
      }
    }
  },
};

/** What normalised elements are multiplied by. */
function factors({ weight, unitOffset }: NormCall): Floats {
  const stored = weightValues(weight);
  return unitOffset ? stored.map((value) => 1 + value) : stored;
}

function writeStats(
  stats: Floats,
  { kind }: NormCall,
  rows: number,
  t: number,
  mean: number,
  r: number,
): void {
  if (kind === "layer") stats[t] = mean;
  stats[kind === "layer" ? rows + t : t] = r;
}

function readStats(stats: Floats, { kind }: NormCall, rows: number, t: number): { mean: number; r: number } {
  return kind === "layer" ? { mean: at(stats, t), r: at(stats, rows + t) } : { mean: 0, r: at(stats, t) };
}
