// SPDX-License-Identifier: Apache-2.0
/**
 * The sparse adapter where its rows live: activations travel to host memory (h down, y up; dy down, dh up), everything else
 * is done there, beside the frozen half. No byte of the adapter is where the model is.
 */
import { andThen, type Awaitable } from "../core/awaitable.ts";
import type { BranchHook } from "../models/hooks.ts";
import type { Kernels, RowsBehind } from "../ops/kernels.ts";
import { sparseBackward, sparseForward, type SparseResiduals } from "../ops/sparse.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { AttachOptions } from "./adapter.ts";
import type { SparseLayer } from "./sparse.ts";
import type { SparseSettings } from "./sparse_config.ts";

/** What backward needs of a forward on the host. */
export interface HostResiduals extends SparseResiduals {
  /** h as it came to host memory; null where that is the model's memory, and backward is given h again. */
  readonly hostH: Tensor | null;
}

/** The layer of that number. @throws {RangeError} When there is none */
export function layerAt(layers: readonly SparseLayer[], layer: number): SparseLayer {
  const found = layers[layer];
  if (!found) {
    throw new RangeError(`The adapter has ${layers.length} layers, the model asks for layer ${layer}`);
  }
  return found;
}

/** Which rows of a layer lag, as the optimizer says. */
export function rowsBehind({ keys, values }: SparseLayer, { behind }: AttachOptions): RowsBehind | null {
  const [ofKeys, ofValues] = [behind?.(keys) ?? null, behind?.(values) ?? null];
  const step = ofKeys?.step ?? ofValues?.step;
  return step ? { keys: ofKeys?.moments ?? null, values: ofValues?.moments ?? null, step } : null;
}

/** Counts the tokens that each expert got in a forward that backward has reached. @mutates layer.expertTokens */
export function countTokens({ expertTokens }: SparseLayer, { routing }: SparseResiduals): void {
  routing.expertTokens.forEach((tokens, expert) => {
    expertTokens[expert] = (expertTokens[expert] as number) + tokens;
  });
}

/** The hook of placement `host`. */
export function hostBranch(
  k: Kernels,
  settings: SparseSettings,
  layers: readonly SparseLayer[],
  options: AttachOptions,
): BranchHook<HostResiduals> {
  return {
    residualsOnHost: true,
    forward(layer, h, y) {
      const one = layerAt(layers, layer);
      const arrival = k.link.down(h.data, (count) => k.hostFloats(count));
      const landing = k.link.landing(y.data);
      const hostH = { shape: h.shape, data: arrival.data };
      const fired = sparseForward(k, one.params, hostH, settings, {
        behind: rowsBehind(one, options),
        into: { shape: y.shape, data: landing.data },
        ready: () => andThen(arrival.ready(), () => landing.ready()),
        turn: (job) => k.hostJobs.run(job),
      });
      return andThen(fired, ({ residuals }) => ({ ...residuals, hostH: arrival.kept ? hostH : null }));
    },
    backward(layer, residuals, h, dy, dh) {
      const one = layerAt(layers, layer);
      countTokens(one, residuals);
      const arrival = k.link.down(dy.data);
      const landing = k.link.landing(dh.data);
      const backward = (): Awaitable<void> =>
        sparseBackward(
          k,
          one.params,
          residuals,
          residuals.hostH ?? h,
          { shape: dy.shape, data: arrival.data },
          { shape: dh.shape, data: landing.data },
        );
      const job = () => andThen(arrival.ready(), () => andThen(landing.ready(), backward));
      return andThen(k.hostJobs.run(job), () => arrival.release());
    },
  };
}
