// SPDX-License-Identifier: Apache-2.0
/** Norms, rotary embedding and activations of the reference backend, in f64. */
import type { ModelKernels } from "../kernels/model.ts";
import { at, dot } from "./linear.ts";
import { weightValues } from "./weights.ts";

type ElementwiseKernels = Pick<
  ModelKernels,
  | "rmsNormForward"
  | "rmsNormBackward"
  | "ropeApply"
  | "swigluForward"
  | "swigluBackward"
  | "reluForward"
  | "reluBackward"
  | "add"
  | "scale"
  | "sumSquares"
>;

/** 1/(1 + exp(-x)). */
export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** See the functions of the same names in `meft.h`. */
export const elementwiseKernels: ElementwiseKernels = {
  rmsNormForward(y, rstd, x, w, rows, eps) {
    const weight = weightValues(w);
    const D = w.cols;
    for (let t = 0; t < rows; t++) {
      const row = x.subarray(t * D, (t + 1) * D);
      const meanSquare = dot(row, 0, row, 0, D) / D;
      const r = 1 / Math.sqrt(meanSquare + eps);
      rstd[t] = r;
      row.forEach((value, i) => y[t * D + i] = value * r * at(weight, i));
    }
  },

  rmsNormBackward(dx, dweight, dy, x, rstd, w, rows, accumulate) {
    const weight = weightValues(w);
    const D = w.cols;
    for (let t = 0; t < rows; t++) {
      const r = at(rstd, t);
      let mean = 0; // of w * dy * n, with n = x * rstd
      for (let i = 0; i < D; i++) mean += at(weight, i) * at(dy, t * D + i) * at(x, t * D + i) * r / D;
      for (let i = 0; i < D; i++) {
        const n = at(x, t * D + i) * r;
        const g = at(dy, t * D + i);
        const change = r * (at(weight, i) * g - n * mean);
        dx[t * D + i] = (accumulate ? at(dx, t * D + i) : 0) + change;
        if (dweight) dweight[i] = at(dweight, i) + g * n;
      }
    }
  },

  ropeApply(x, cos, sin, positions, heads, headDim, inverse) {
    const half = headDim / 2;
    const direction = inverse ? -1 : 1;
    positions.forEach((position, t) => {
      for (let head = 0; head < heads; head++) {
        for (let i = 0; i < half; i++) {
          const first = (t * heads + head) * headDim + i;
          const [a, b] = [at(x, first), at(x, first + half)];
          const [c, s] = [at(cos, position * half + i), direction * at(sin, position * half + i)];
          x[first] = a * c - b * s;
          x[first + half] = b * c + a * s;
        }
      }
    });
  },

  swigluForward(y, gate, up) {
    gate.forEach((g, i) => y[i] = g * sigmoid(g) * at(up, i));
  },

  swigluBackward(dgate, dup, dy, gate, up) {
    for (let i = 0; i < gate.length; i++) {
      const [d, g, u] = [at(dy, i), at(gate, i), at(up, i)];
      const s = sigmoid(g);
      dgate[i] = d * u * s * (1 + g * (1 - s));
      dup[i] = d * g * s;
    }
  },

  reluForward(y, x) {
    x.forEach((value, i) => y[i] = Math.max(value, 0));
  },

  reluBackward(dx, dy, y) {
    y.forEach((value, i) => dx[i] = value > 0 ? at(dy, i) : 0);
  },

  add(y, x) {
    x.forEach((value, i) => y[i] = at(y, i) + value);
  },

  scale(x, factor) {
    x.forEach((value, i) => x[i] = value * factor);
  },

  sumSquares(x) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += at(x, i) ** 2;
    return sum;
  },
};
