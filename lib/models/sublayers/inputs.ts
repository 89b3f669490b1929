// SPDX-License-Identifier: Apache-2.0
/** The products that read a sublayer's input: one for each of its results, or one whose output holds them side by side. */
import { arenaActivation, arenaTensor, rowsOf } from "../../ops/arena_tensor.ts";
import { joinColumns, splitColumns } from "../../ops/columns.ts";
import type { LinearResult } from "../../ops/linear.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import type { Linear } from "../parts.ts";
import type { StepContext } from "./context.ts";
import { hookedBackward, hookedForward } from "./linear.ts";

/**
 * The results of the products.
 *
 * @param h (T,D) read     @param widths Columns of each result
 * @returns (T,width) each, in the arena
 */
export function inputsForward(
  step: StepContext,
  layer: number,
  inputs: readonly Linear[],
  h: Tensor,
  widths: readonly number[],
): Activation[] {
  const [fused, ...others] = inputs as [Linear, ...Linear[]];
  if (others.length > 0 || widths.length === 1) {
    return inputs.map((linear) => hookedForward(step, layer, linear, h));
  }
  const { k } = step;
  const results = widths.map((width) => arenaActivation(k, [rowsOf(h), width]));
  const mark = k.arena.mark();
  splitColumns(k, hookedForward(step, layer, fused, h), results);
  k.arena.release(mark);
  return results;
}

/**
 * Backward of {@linkcode inputsForward}.
 *
 * @param h (T,D) as given to forward, where one of the products is trained     @param d (T,width) gradients of the results
 * @returns dh (T,D), or null when it is not wanted     @mutates grads of the products, what hooks train
 */
export function inputsBackward(
  step: StepContext,
  layer: number,
  inputs: readonly Linear[],
  h: Tensor,
  d: readonly Activation[],
  wanted: boolean,
): Tensor | null {
  const { k } = step;
  const gradients = inputs.length === d.length ? d : [joinColumns(k, d)];
  let dh: Tensor | null = null;
  for (const [i, linear] of inputs.entries()) {
    const to: LinearResult<Tensor> = dh === null ? { into: arenaTensor(k, h.shape) } : { addTo: dh };
    dh = hookedBackward(step, layer, linear, h, gradients[i] as Activation, wanted ? to : null);
  }
  return dh;
}
