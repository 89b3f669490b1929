// SPDX-License-Identifier: Apache-2.0
/** Activations and their slopes, in f64. */
import type { ActivationKind } from "../kernels/model.ts";

/** A function f of one number, and its derivative, times a factor; the order of multiplications is part of the bits. */
interface ScalarFunction {
  /** d f(x). */
  times(d: number, x: number): number;
  /** d f'(x). */
  pull(d: number, x: number): number;
}

function scalar(value: (x: number) => number, slope: (x: number) => number): ScalarFunction {
  return { times: (d, x) => d * value(x), pull: (d, x) => d * slope(x) };
}

/** 1/(1 + exp(-x)). */
export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** x sigmoid(factor x): silu and what approximates gelu. */
function swish(factor: number): ScalarFunction {
  return {
    times: (d, x) => d * x * sigmoid(factor * x),
    pull(d, x) {
      const s = sigmoid(factor * x);
      return d * s * (1 + factor * x * (1 - s));
    },
  };
}

// gelu_tanh(x) = x/2 (1 + tanh(a (x + b x^3))) = x sigmoid(2 a (x + b x^3)).
const A = Math.sqrt(2 / Math.PI);
const B = 0.044715;
const bent = (x: number): number => 2 * A * (x + B * x ** 3);

const FUNCTIONS: Readonly<Record<ActivationKind, ScalarFunction>> = {
  identity: scalar((x) => x, () => 1),
  relu: scalar((x) => Math.max(x, 0), (x) => Number(x > 0)),
  silu: swish(1),
  quick_gelu: swish(1.702),
  gelu: scalar(
    (x) => x * normalCdf(x),
    (x) => normalCdf(x) + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI),
  ),
  gelu_tanh: scalar(
    (x) => x * sigmoid(bent(x)),
    (x) => sigmoid(bent(x)) * (1 + x * sigmoid(-bent(x)) * 2 * A * (1 + 3 * B * x * x)),
  ),
  tanh: scalar(Math.tanh, (x) => 4 * sigmoid(2 * x) * sigmoid(-2 * x)),
  sigmoid: scalar(sigmoid, (x) => sigmoid(x) * sigmoid(-x)),
};

/** The function of a kind. */
export function activationOf(kind: ActivationKind): ScalarFunction {
  return FUNCTIONS[kind];
}

/** P(N(0,1) <= x) = erfc(-x/sqrt(2))/2. */
export function normalCdf(x: number): number {
  const t = Math.abs(x) / Math.SQRT2;
  const half = t < 2 ? (1 - erfSeries(t)) / 2 : erfcFraction(t) / 2;
  return x > 0 ? 1 - half : half;
}

/** erf(t) = 2/sqrt(pi) exp(-t^2) sum of 2^n t^(2n+1) / (2n+1)!!: terms of one sign. */
function erfSeries(t: number): number {
  let [term, sum] = [t, t];
  for (let n = 1; term > sum * 2 ** -60; n++) {
    term *= 2 * t * t / (2 * n + 1);
    sum += term;
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-t * t) * sum;
}

/** erfc(t) = exp(-t^2)/sqrt(pi) / (t + (1/2)/(t + (2/2)/(t + (3/2)/(t + ..., for t from 2. NaN stays NaN. */
function erfcFraction(t: number): number {
  let below = t;
  for (let n = 120; n > 0; n--) below = t + n / 2 / below;
  return Math.exp(-t * t) / Math.sqrt(Math.PI) / below;
}
