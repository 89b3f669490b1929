// SPDX-License-Identifier: Apache-2.0
/**
 * Sums of magnitudes of the sparse adapter, for the error bounds of its contract. An error of a dot or a logit is
 * carried through gate, score and gradient to first order; capitals name magnitudes.
 */
import type { Floats } from "../../../lib/tensor/tensor.ts";
import { absolute, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { type SparseCase, sparseInputs } from "./sparse.ts";

/** Row i of a matrix of `width` columns. */
const row = (matrix: Floats, i: number, width: number) => matrix.subarray(i * width, (i + 1) * width);

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

function addScaled(to: Floats, factor: number, from: Floats): void {
  to.forEach((value, i) => to[i] = value + factor * (from[i] as number));
}

/** Gate factors of one token, and the magnitudes of their errors, from logits and logit magnitudes. */
function gates(
  gate: SparseCase["shape"]["gate"],
  logits: number[],
  L: number[],
): { c: number[]; C: number[] } {
  if (gate === "raw") return { c: logits.map(Math.abs), C: L };
  if (gate === "none") return { c: logits.map(() => 1), C: logits.map(() => 0) };
  if (gate === "sigmoid") {
    const c = logits.map((x) => 1 / (1 + Math.exp(-x)));
    return { c, C: c.map((ci, e) => ci * (1 + (L[e] as number))) };
  }
  const largest = Math.max(...logits);
  const sum = logits.reduce((total, x) => total + Math.exp(x - largest), 0);
  const c = logits.map((x) => Math.exp(x - largest) / sum);
  return { c, C: c.map((ci, e) => ci * (2 + (L[e] as number) + Math.max(...L))) };
}

/** Magnitudes of the logit gradients, from those of the gate factors' gradients. */
function logitMagnitudes(gate: SparseCase["shape"]["gate"], total: number[], DC: number[]): number[] {
  if (gate === "raw") return DC;
  if (gate === "none") return DC.map(() => 0);
  if (gate === "sigmoid") return DC.map((dc, e) => (total[e] as number) * dc);
  const mean = DC.reduce((sum, dc, e) => sum + (total[e] as number) * dc, 0);
  return DC.map((dc, e) => (total[e] as number) * (dc + mean));
}

/** Magnitudes of every float output of a case. The backward pass ran twice, so its terms count twice. */
export function sparseMagnitudes(stage: Stage, test: SparseCase, oracle: Outputs): Outputs {
  const { tokens, hidden, neurons, experts, gate } = test.shape;
  const input = sparseInputs(stage, test);
  const [h, keys, values, dy, W] = [input.h, input.keys, input.values, input.dy, input.gateWeight]
    .map(absolute) as [Floats, Floats, Floats, Floats, Floats];
  const pairNeurons = oracle.neurons as Int32Array;
  const [offsets, slots] = [oracle.offsets as Int32Array, oracle.slots as Int32Array];
  const logits: number[] = [];
  const [dots, scores]: [number[], number[]] = [[], []];
  const y = new Float64Array(tokens * hidden);
  const dh = absolute(input.dh);
  const dgateWeight = absolute(input.dgateWeight);
  const dkeys = new Float64Array((oracle.rows as Int32Array).length * hidden);
  const dvalues = new Float64Array(dkeys.length);
  for (let t = 0; t < tokens; t++) {
    const own = row(h, t, hidden);
    const L = Array.from({ length: experts }, (_, e) => dot(own, row(W, e, hidden)));
    logits.push(...L);
    const { c, C } = gates(gate, [...row(oracle.logits as Floats, t, experts)], L);
    const total = c.map((ci, e) => ci + (C[e] as number));
    const DC = c.map(() => 0);
    for (let p = offsets[t] as number; p < (offsets[t + 1] as number); p++) {
      const neuron = pairNeurons[p] as number;
      const [key, value] = [row(keys, neuron, hidden), row(values, neuron, hidden)];
      const slot = slots[neuron] as number;
      const e = Math.floor(neuron * experts / neurons);
      const A = dot(own, key);
      const S = (total[e] as number) * A;
      const DS = dot(row(dy, t, hidden), value);
      dots.push(A);
      scores.push(S);
      addScaled(row(y, t, hidden), S, value);
      addScaled(row(dvalues, slot, hidden), 2 * S, row(dy, t, hidden));
      addScaled(row(dkeys, slot, hidden), 2 * (total[e] as number) * DS, own);
      addScaled(row(dh, t, hidden), 2 * (total[e] as number) * DS, key);
      DC[e] = (DC[e] as number) + A * DS;
    }
    logitMagnitudes(gate, total, DC).forEach((G, e) => {
      addScaled(row(dh, t, hidden), 2 * G, row(W, e, hidden));
      addScaled(row(dgateWeight, e, hidden), 2 * G, own);
    });
  }
  return {
    logits: Float64Array.from(logits),
    dots: Float64Array.from(dots),
    scores: Float64Array.from(scores),
    y,
    dh,
    dvalues,
    dkeys,
    dgateWeight,
  };
}
