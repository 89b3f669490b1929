// SPDX-License-Identifier: Apache-2.0
/** What fires over the steps of a run: how many neurons have gone silent, and how evenly the experts are used. */
import type { AdapterParams } from "../adapters/adapter.ts";

/** A neuron counts as dead when no token of this many steps fired it. */
export const DEAD_AFTER_STEPS = 100;

/** Kept from step to step. */
export interface ActivityWatch {
  /** The step after which it began. */
  readonly start: number;
  /** (R) for each layer: step in which a neuron fired last, or the step before the watch began. */
  readonly lastFired: readonly Int32Array[];
  /** (N) for each layer: tokens that had been routed to each expert at the last reading. */
  readonly expertTokens: readonly Float64Array[];
}

/** Begins after `step`. Null for an adapter whose neurons do not fire by choice. */
export function watchActivity(params: AdapterParams, step: number): ActivityWatch | null {
  const layers = params.layerActivity?.();
  if (layers === undefined) return null;
  return {
    start: step,
    lastFired: layers.map(({ neurons }) => new Int32Array(neurons).fill(step)),
    expertTokens: layers.map(({ expertTokens }) => expertTokens.slice()),
  };
}

/**
 * Mean over the layers of the neurons that fired for no token of the last {@linkcode DEAD_AFTER_STEPS} steps; of all steps
 * since the watch began, as long as these are fewer.
 *
 * @param step The step that was just taken: its gradients still say what fired     @mutates watch
 */
export function countDeadNeurons(watch: ActivityWatch, params: AdapterParams, step: number): number {
  const layers = params.layerActivity?.() ?? [];
  let dead = 0;
  layers.forEach(({ firedNeurons }, layer) => {
    const lastFired = watch.lastFired[layer] as Int32Array;
    for (const neuron of firedNeurons) lastFired[neuron] = step;
    const border = Math.max(watch.start, step - DEAD_AFTER_STEPS);
    for (const fired of lastFired) if (fired <= border) dead++;
  });
  return dead / Math.max(1, layers.length);
}

/** (L,N): tokens routed to each expert since the last reading, passes of training alone. @mutates watch */
export function readExpertLoad(watch: ActivityWatch, params: AdapterParams): number[][] {
  return (params.layerActivity?.() ?? []).map(({ expertTokens }, layer) => {
    const before = watch.expertTokens[layer] as Float64Array;
    const load = Array.from(expertTokens, (tokens, expert) => tokens - (before[expert] as number));
    before.set(expertTokens);
    return load;
  });
}
