// SPDX-License-Identifier: Apache-2.0
/** Updates with the gradients clipped as the optimizer says: all by one factor, or each layer by its own. */
import type { AdapterParams } from "../adapters/adapter.ts";
import type { Kernels } from "../ops/kernels.ts";
import { clipFactor, globalNorm } from "../optim/clip.ts";
import type { Optimizer, OptimizerState, UpdateStep } from "../optim/optimizer.ts";
import type { Parameter } from "../optim/parameters.ts";

/** Whether a layer's step depends on the gradients of the others. */
export function clipsTogether({ clip, clipBy }: Optimizer): boolean {
  return clip !== null && clipBy === "all";
}

/** The factor of a layer's gradients of this norm; 1 where they are not clipped by layer. */
export function layerFactor({ clip, clipBy }: Optimizer, norm: number): number {
  return clipBy === "layer" ? clipFactor(norm, clip) : 1;
}

/** What is updated, and what is known already. */
export interface UpdateParts {
  /** Of the adapter's parameters; all when absent. */
  readonly only?: (parameter: Parameter) => boolean;
  /** Sums of squares of gradients that were not written. */
  readonly squares?: ReadonlyMap<Parameter, number>;
}

/**
 * Takes one step. `step.gradScale` multiplies all gradients; where the optimizer clips by layer, every layer's are multiplied
 * by {@linkcode layerFactor} of their own norm besides, and what belongs to no layer is one more layer.
 *
 * @mutates the parameters, state
 */
export async function clippedUpdate(
  k: Kernels,
  optimizer: Optimizer,
  params: AdapterParams,
  state: OptimizerState,
  step: UpdateStep,
  { only = () => true, squares }: UpdateParts = {},
): Promise<OptimizerState> {
  if (optimizer.clip === null || optimizer.clipBy === "all") {
    return await optimizer.update(k, params.parameters.filter(only), state, step);
  }
  let next = state;
  for (const layer of layersOf(params)) {
    const parameters = layer.filter(only);
    if (parameters.length === 0) continue;
    const gradScale = step.gradScale * layerFactor(optimizer, globalNorm(k, layer, squares));
    next = await optimizer.update(k, parameters, next, { ...step, gradScale });
  }
  return next;
}

/** The layers' parameters, then those that belong to none. */
function layersOf({ byLayer, parameters }: AdapterParams): readonly (readonly Parameter[])[] {
  const ofLayers = new Set(byLayer.flat());
  return [...byLayer, parameters.filter((parameter) => !ofLayers.has(parameter))];
}
