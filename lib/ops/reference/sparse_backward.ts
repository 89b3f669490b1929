// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter of the reference backend, backward, in f64: the equations of `lib/ops/sparse.ts`. */
import type { RowGradients, RowKernels, SparseBackwardCall, SparseShape } from "../kernels/rows.ts";
import { addScaled, at, dot } from "./linear.ts";
import { fullRows, gateFactors, rowOf } from "./sparse.ts";

/** Gradient of the router logits from that of the gate factors. */
function logitGradients(
  factors: readonly number[],
  dfactors: readonly number[],
  shape: SparseShape,
): number[] {
  if (shape.gate === "raw") return [...dfactors];
  if (shape.gate === "none") return dfactors.map(() => 0);
  const c = (e: number) => factors[e] as number;
  if (shape.gate === "sigmoid") return dfactors.map((dc, e) => c(e) * (1 - c(e)) * dc);
  const mean = dfactors.reduce((sum, dc, e) => sum + c(e) * dc, 0);
  return dfactors.map((dc, e) => c(e) * (dc - mean));
}

function sparseBackward(call: SparseBackwardCall, gradients: RowGradients, firstNewSlot: number): void {
  const { dh, dgateWeight, dy, h, routing, pairs, gateWeight, shape } = call;
  const { hidden, experts } = shape;
  const perExpert = shape.neurons / experts;
  const [keys, values] = [fullRows(call.keys), fullRows(call.values)];
  // Rows from firstNewSlot on are written: they begin at zero.
  for (const rows of [gradients.keys, gradients.values]) {
    rows?.fill(0, firstNewSlot * hidden, gradients.rowCount * hidden);
  }
  for (let t = 0; t < shape.tokens; t++) {
    const factors = gateFactors(rowOf(routing.logits, t, experts), shape);
    const dfactors = factors.map(() => 0);
    for (let pair = at(pairs.offsets, t); pair < at(pairs.offsets, t + 1); pair++) {
      const neuron = at(pairs.neurons, pair);
      const expert = Math.floor(neuron / perExpert);
      const slot = at(gradients.slots, neuron);
      const dscore = dot(dy, t * hidden, values, neuron * hidden, hidden);
      const ddot = (factors[expert] as number) * dscore;
      dfactors[expert] = (dfactors[expert] as number) + at(pairs.dots, pair) * dscore;
      addScaled(gradients.values, slot * hidden, at(pairs.scores, pair), dy, t * hidden, hidden);
      if (gradients.keys) addScaled(gradients.keys, slot * hidden, ddot, h, t * hidden, hidden);
      addScaled(dh, t * hidden, ddot, keys, neuron * hidden, hidden);
    }
    logitGradients(factors, dfactors, shape).forEach((dg, e) => {
      addScaled(dh, t * hidden, dg, gateWeight, e * hidden, hidden);
      if (dgateWeight) addScaled(dgateWeight, e * hidden, dg, h, t * hidden, hidden);
    });
  }
}

/** See `meft_sparse_backward`. */
export const sparseBackwardKernels = { sparseBackward } satisfies Partial<RowKernels>;
