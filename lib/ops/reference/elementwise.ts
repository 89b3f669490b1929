// SPDX-License-Identifier: Apache-2.0
/** Rotary embedding, activations and single passes over arrays of the reference backend, in f64. */
import type { ModelKernels } from "../kernels/model.ts";
import { activationOf } from "./activation.ts";
import { at } from "./linear.ts";

type ElementwiseKernels = Pick<
  ModelKernels,
  | "ropeApply"
  | "activationForward"
  | "activationBackward"
  | "add"
  | "scaledAdd"
  | "scale"
  | "softcap"
  | "sumSquares"
>;

/** See the functions of the same names in `meft.h`. */
export const elementwiseKernels: ElementwiseKernels = {
  ropeApply(x, cos, sin, positions, heads, headDim, rotaryDim, inverse) {
    const half = rotaryDim / 2;
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

  activationForward(y, x, up, kind) {
    const { times } = activationOf(kind);
    for (let i = 0; i < x.length; i++) y[i] = times(1, at(x, i)) * (up ? at(up, i) : 1);
  },

  activationBackward(dx, dup, dy, x, up, kind) {
    const { times, pull } = activationOf(kind);
    for (let i = 0; i < x.length; i++) {
      const [d, at0, factor] = [at(dy, i), at(x, i), up ? at(up, i) : 1];
      dx[i] = pull(d * factor, at0);
      if (dup) dup[i] = times(d, at0);
    }
  },

  add(y, x) {
    x.forEach((value, i) => y[i] = at(y, i) + value);
  },

  scaledAdd(y, factor, x) {
    x.forEach((value, i) => y[i] = factor * at(y, i) + value);
  },

  scale(x, factor) {
    x.forEach((value, i) => x[i] = value * factor);
  },

  softcap(x, cap) {
    x.forEach((value, i) => x[i] = cap * Math.tanh(value / cap));
  },

  sumSquares(x) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += at(x, i) ** 2;
    return sum;
  },
};
