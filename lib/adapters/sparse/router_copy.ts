// SPDX-License-Identifier: Apache-2.0
/**
 * A layer's router where the model is. The host lane routes with the layer's own, which the optimizer moves; backward multiplies
 * by a copy that is brought once a step, and whose gradient comes back at the step's end.
 */
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { dropFloats, holdFloats } from "../../ops/model_memory.ts";
import type { SparseParams } from "../../ops/sparse.ts";
import type { Floats, Weight } from "../../tensor/tensor.ts";

/** The router of one layer for one step after another. */
export interface RouterCopy {
  /** (N,D) with its gradient, when it is trained. */
  weight(): Promise<Weight>;
  /** Adds the gradient to the layer's own. @mutates params.gateGrad */
  collect(): Promise<void>;
  /** Forgets copy and gradient. */
  forget(): void;
  /** Gives the memory back. */
  release(): void;
}

/** Where model and host share their memory, there is no copy. @mutates k.ledger: "cache" until released */
export function createRouterCopy(k: Kernels, params: SparseParams): RouterCopy {
  const { gateWeight, gateGrad } = params;
  const cols = params.keys.cols;
  const asWeight = (data: Floats, grad: Floats | null): Weight => ({
    name: "router",
    dtype: k.float,
    rows: data.length / cols,
    cols,
    data,
    mapped: null,
    grad,
  });
  if (k.device === null) {
    const own = asWeight(gateWeight, gateGrad);
    const nothing = (): void => {};
    return { weight: () => Promise.resolve(own), collect: async () => {}, forget: nothing, release: nothing };
  }
  const data = k.modelFloats(gateWeight.length, "cache");
  const grad = gateGrad && k.modelFloats(gateGrad.length, "cache");
  const arrays = [data, grad].filter((array) => array !== null);
  for (const array of arrays) holdFloats(k, array, "cache");
  const copy = asWeight(data, grad);
  let current = false;
  return {
    async weight() {
      if (current) return copy;
      const landing = k.link.landing(data);
      await landing.ready();
      landing.data.set(gateWeight);
      k.link.arrive(data);
      if (grad) k.zero(grad);
      current = true;
      return copy;
    },
    async collect() {
      if (!current || !grad || !gateGrad) return;
      const arrival = k.link.down(grad);
      await arrival.ready();
      k.add(gateGrad, arrival.data);
      arrival.release();
    },
    forget: () => void (current = false),
    release: () => arrays.forEach((array) => dropFloats(k, array, "cache")),
  };
}
