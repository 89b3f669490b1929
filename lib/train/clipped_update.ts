// SPDX-License-Identifier: Apache-2.0
/** Updates with the gradients clipped as the optimizer says: all by one factor, or each layer by its own. */
import type { AdapterParams } from "../adapters/adapter.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { clipFactor, clipOf, globalNorm } from "../optim/clip.ts";
import type { Optimizer, OptimizerState, UpdateStep } from "../optim/optimizer.ts";
import type { Parameter } from "../optim/parameters.ts";

/** What is updated, and what is known already. */
export interface UpdateParts {
  /** Of the adapter's parameters; all when absent. */
  readonly only?: (parameter: Parameter) => boolean;
  /** Sums of squares of gradients that were taken already. */
  readonly squares?: ReadonlyMap<Parameter, number>;
}

/**
 * Takes one step. `step.gradScale` multiplies all gradients; where the optimizer clips by layer, every layer's are multiplied
 * by {@linkcode clipFactor} of their own norm besides, and what belongs to no layer is one more layer.
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
  const clip = clipOf(optimizer, "layer");
  if (clip === null) {
    return await optimizer.update(k, params.parameters.filter(only), state, step);
  }
  let next = state;
  for (const layer of layersOf(params)) {
    const parameters = layer.filter(only);
    if (parameters.length === 0) continue;
    const gradScale = step.gradScale * clipFactor(await globalNorm(k, layer, squares), clip);
    next = await optimizer.update(k, parameters, next, { ...step, gradScale });
  }
  return next;
}

/** The layers' parameters, then those that belong to none. */
function layersOf({ byLayer, parameters }: AdapterParams): readonly (readonly Parameter[])[] {
  const ofLayers = new Set(byLayer.flat());
  return [...byLayer, parameters.filter((parameter) => !ofLayers.has(parameter))];
}
