// SPDX-License-Identifier: Apache-2.0
/**
 * Sums of magnitudes of the sparse adapter, for the error bounds of its contract. Every quantity carries its value and
 * the magnitude of its error to first order: of a sum the magnitudes of its terms, of a product |a| B + A |b|.
 */
import type { Floats } from "../../../lib/tensor/tensor.ts";
import { absolute, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { type SparseCase, sparseInputs } from "./sparse_case.ts";

type GateName = SparseCase["shape"]["gate"];

/** A value and the magnitude of its error. */
interface Rounded {
  readonly value: number;
  readonly error: number;
}

/** Row i of a matrix of `width` columns. */
const row = (matrix: Floats, i: number, width: number) => matrix.subarray(i * width, (i + 1) * width);

const sum = (values: readonly number[]) => values.reduce((total, x) => total + x, 0);

function dot(a: Floats, b: Floats): Rounded {
  let [value, error] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const product = (a[i] as number) * (b[i] as number);
    value += product;
    error += Math.abs(product);
  }
  return { value, error };
}

/** a * b, with the rounding of the product itself. */
function product(a: Rounded, b: Rounded): Rounded {
  const value = a.value * b.value;
  return { value, error: Math.abs(a.value) * b.error + a.error * Math.abs(b.value) + Math.abs(value) };
}

/** to += |factor's value and error| * |from|: one term of a sum of rows. */
function addTerm(to: Floats, factor: Rounded, from: Floats, times = 1): void {
  const size = times * (Math.abs(factor.value) + factor.error);
  to.forEach((magnitude, i) => to[i] = magnitude + size * Math.abs(from[i] as number));
}

/** Gate factors of one token from its logits. */
function gates(gate: GateName, logits: readonly Rounded[]): Rounded[] {
  if (gate === "raw") return [...logits];
  if (gate === "none") return logits.map(() => ({ value: 1, error: 0 }));
  if (gate === "sigmoid") {
    return logits.map(({ value, error }) => {
      const c = 1 / (1 + Math.exp(-value));
      return { value: c, error: c * (1 + Math.abs(value) + (1 - c) * error) };
    });
  }
  const largest = Math.max(...logits.map(({ value }) => value));
  const total = sum(logits.map(({ value }) => Math.exp(value - largest)));
  const c = logits.map(({ value }) => Math.exp(value - largest) / total);
  const mean = sum(logits.map(({ error }, f) => (c[f] as number) * error));
  const range = Math.max(...logits.map(({ value }) => largest - value));
  return logits.map(({ error }, e) => ({
    value: c[e] as number,
    error: (c[e] as number) * (2 + range + error + mean),
  }));
}

/** Gradients of the logits from those of the gate factors. */
function logitGradients(gate: GateName, c: readonly Rounded[], dc: readonly Rounded[]): Rounded[] {
  if (gate === "raw") return [...dc];
  if (gate === "none") return dc.map(() => ({ value: 0, error: 0 }));
  if (gate === "sigmoid") {
    return dc.map((d, e) => {
      const { value, error } = c[e] as Rounded;
      return product({ value: value * (1 - value), error: error + value * (1 - value) }, d);
    });
  }
  const terms = dc.map((d, e) => product(c[e] as Rounded, d));
  const mean = { value: sum(terms.map(({ value }) => value)), error: sum(terms.map(({ error }) => error)) };
  return dc.map((d, e) =>
    product(c[e] as Rounded, {
      value: d.value - mean.value,
      error: d.error + mean.error + Math.abs(d.value) + Math.abs(mean.value),
    })
  );
}

/** Magnitudes of every float output of a case. The backward pass ran twice, so its terms count twice. */
export function sparseMagnitudes(stage: Stage, test: SparseCase, oracle: Outputs): Outputs {
  const { tokens, hidden, neurons, experts, gate } = test.shape;
  const { h, keys, values, dy, gateWeight, ...start } = sparseInputs(stage, test);
  const [pairNeurons, offsets, slots] = [oracle.neurons, oracle.offsets, oracle.slots] as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  const rowCount = (oracle.rows as Int32Array).length;
  const [logits, dots, scores]: [number[], number[], number[]] = [[], [], []];
  const y = new Float64Array(tokens * hidden);
  const [dh, dgateWeight] = [absolute(start.dh), absolute(start.dgateWeight)];
  const [dkeys, dvalues] = [new Float64Array(rowCount * hidden), new Float64Array(rowCount * hidden)];
  for (let t = 0; t < tokens; t++) {
    const [own, upstream] = [row(h, t, hidden), row(dy, t, hidden)];
    const g = Array.from({ length: experts }, (_, e) => dot(own, row(gateWeight, e, hidden)));
    logits.push(...g.map(({ error }) => error));
    const c = gates(gate, g);
    const dc = c.map((): { value: number; error: number } => ({ value: 0, error: 0 }));
    for (let p = offsets[t] as number; p < (offsets[t + 1] as number); p++) {
      const neuron = pairNeurons[p] as number;
      const [key, value] = [row(keys, neuron, hidden), row(values, neuron, hidden)];
      const [slot, e] = [slots[neuron] as number, Math.floor(neuron * experts / neurons)];
      const [a, dscore] = [dot(own, key), dot(upstream, value)];
      const [score, ddot] = [product(c[e] as Rounded, a), product(c[e] as Rounded, dscore)];
      dots.push(a.error);
      scores.push(score.error);
      addTerm(row(y, t, hidden), score, value);
      addTerm(row(dvalues, slot, hidden), score, upstream, 2);
      addTerm(row(dkeys, slot, hidden), ddot, own, 2);
      addTerm(row(dh, t, hidden), ddot, key, 2);
      const term = product(a, dscore);
      const into = dc[e] as { value: number; error: number };
      into.value += term.value;
      into.error += term.error;
    }
    logitGradients(gate, c, dc).forEach((dg, e) => {
      addTerm(row(dh, t, hidden), dg, row(gateWeight, e, hidden), 2);
      addTerm(row(dgateWeight, e, hidden), dg, own, 2);
    });
  }
  const float = (list: number[]) => Float64Array.from(list);
  return {
    logits: float(logits),
    dots: float(dots),
    scores: float(scores),
    y,
    dh,
    dvalues,
    dkeys,
    dgateWeight,
  };
}
