// SPDX-License-Identifier: Apache-2.0
/** From gradients of scores to those of dots and of the router's logits: numbers of pairs and tokens, in host memory. */
import type { Floats } from "../tensor/tensor.ts";
import type { FiredPairs } from "./kernels/rows.ts";

/**
 * With c the gate factors and a the dots:  da_j = c_e(j) dz_j,  dc_e = sum over the expert's pairs of a_j dz_j,
 * raw: dg = dc;  softmax: dg_e = c_e (dc_e - sum_f c_f dc_f);  sigmoid: dg = c (1 - c) dc;  none: dg = 0.
 *
 * @param dscores (P) dz, replaced by da     @param dlogits (T,N) dg, written. @mutates dscores, dlogits
 */
export function gateGradients(
  { shape, routing, pairs }: FiredPairs,
  dscores: Floats,
  dlogits: Floats,
): void {
  const { experts, neurons, tokens, gate } = shape;
  const perExpert = neurons / experts;
  dlogits.fill(0);
  for (let t = 0; t < tokens; t++) {
    const g = routing.logits.subarray(t * experts, (t + 1) * experts);
    const dg = dlogits.subarray(t * experts, (t + 1) * experts);
    const total = gate === "softmax" ? logSumExp(g) : 0;
    const factor = (e: number): number => {
      const logit = g[e] as number;
      if (gate === "raw") return logit;
      if (gate === "none") return 1;
      return gate === "sigmoid" ? 1 / (1 + Math.exp(-logit)) : Math.exp(logit - total);
    };
    for (let p = pairs.offsets[t] as number; p < (pairs.offsets[t + 1] as number); p++) {
      const expert = Math.floor((pairs.neurons[p] as number) / perExpert);
      const dz = dscores[p] as number;
      dg[expert] = (dg[expert] as number) + (pairs.dots[p] as number) * dz;
      dscores[p] = factor(expert) * dz;
    }
    if (gate === "none") dg.fill(0);
    if (gate !== "sigmoid" && gate !== "softmax") continue;
    let mean = 0;
    if (gate === "softmax") {
      for (let e = 0; e < experts; e++) {
        mean += dg[e] === 0 ? 0 : factor(e) * (dg[e] as number);
      }
    }
    for (let e = 0; e < experts; e++) {
      const [c, dc] = [factor(e), dg[e] as number];
      dg[e] = gate === "softmax" ? c * (dc - mean) : c * (1 - c) * dc;
    }
  }
}

function logSumExp(values: Floats): number {
  let most = -Infinity;
  for (const value of values) most = Math.max(most, value);
  let sum = 0;
  for (const value of values) sum += Math.exp(value - most);
  return most + Math.log(sum);
}
