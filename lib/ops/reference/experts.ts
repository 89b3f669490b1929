// SPDX-License-Identifier: Apache-2.0
/** Mixture-of-experts of the reference backend, in f64. */
import type { Floats } from "../../tensor/tensor.ts";
import type { ExpertKernels } from "../kernels/experts.ts";
import { addScaled, at, dot } from "./linear.ts";

/** See `meft_experts_*`. */
export const expertKernels: ExpertKernels = {
  expertsChoose(weights, chosen, logits, choice) {
    const { experts, active } = choice;
    for (let t = 0; t * active < chosen.length; t++) {
      const own = Int32Array.from(largest(logits.subarray(t * experts, (t + 1) * experts), active)).sort();
      chosen.set(own, t * active);
    }
    expertKernels.expertsWeights(weights, chosen, logits, choice);
  },

  expertsWeights(weights, chosen, logits, { experts, active, normalised }) {
    for (let t = 0; t * active < chosen.length; t++) {
      const p = softmax(logits.subarray(t * experts, (t + 1) * experts));
      const own = chosen.subarray(t * active, (t + 1) * active);
      const total = normalised ? own.reduce((sum, e) => sum + at(p, e), 0) : 1;
      own.forEach((e, k) => weights[t * active + k] = at(p, e) / total);
    }
  },

  expertsChooseBackward(dlogits, dweights, logits, chosen, { experts, active, normalised }) {
    for (let t = 0; t * active < chosen.length; t++) {
      const p = softmax(logits.subarray(t * experts, (t + 1) * experts));
      const own = chosen.subarray(t * active, (t + 1) * active);
      const total = normalised ? own.reduce((sum, e) => sum + at(p, e), 0) : 1;
      const slope = (k: number) => at(dweights, t * active + k);
      const mean = own.reduce((sum, e, k) => sum + at(p, e) / total * slope(k), 0);
      p.forEach((probability, e) => {
        const k = own.indexOf(e);
        const d = k >= 0 ? slope(k) - mean : normalised ? 0 : -mean;
        dlogits[t * experts + e] = probability / total * d;
      });
    }
  },

  expertsGather(y, x, rows, width) {
    rows.forEach((row, i) => {
      for (let d = 0; d < width; d++) y[i * width + d] = at(x, row * width + d);
    });
  },

  expertsCombine(y, x, places, weights, active, width, accumulate) {
    if (!accumulate) y.fill(0, 0, places.length / active * width);
    places.forEach((place, slot) => {
      const weight = weights ? at(weights, slot) : 1;
      addScaled(y, Math.floor(slot / active) * width, weight, x, place * width, width);
    });
  },

  expertsWeighBackward(dx, dweights, dy, x, slots, weights, width) {
    slots.forEach((slot, i) => {
      dweights[slot] = dot(dy, i * width, x, i * width, width);
      for (let d = 0; d < width; d++) dx[i * width + d] = at(weights, slot) * at(dy, i * width + d);
    });
  },
};

function softmax(logits: Floats): Float64Array {
  const top = Math.max(...logits);
  const e = Float64Array.from(logits, (x) => Math.exp(x - top));
  const total = e.reduce((sum, x) => sum + x, 0);
  return e.map((x) => x / total);
}

/** Numbers of the largest, ties to the lower. */
function largest(logits: Floats, count: number): number[] {
  const numbers = Array.from(logits, (_, e) => e);
  return numbers.sort((a, b) => at(logits, b) - at(logits, a) || a - b).slice(0, count);
}
