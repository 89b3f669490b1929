// SPDX-License-Identifier: Apache-2.0
/** The way back through a sublayer whose products and hooks all read h = norm(x). */
import { normAgain, normBackward, type NormResiduals } from "../../ops/norm.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { hooksBeside } from "../hooks.ts";
import { type Linear, normTensors, type Sublayer } from "../parts.ts";
import { backwardBeside, type Hooked } from "./beside.ts";
import { isTrained, type StepContext } from "./context.ts";
import { linearIsTrained } from "./linear.ts";

/** What every such sublayer keeps. */
export interface NormedResiduals {
  readonly norm: NormResiduals;
  readonly hooked: readonly Hooked[];
}

/** What comes back into a sublayer. */
export interface NormedBackward {
  readonly residuals: NormedResiduals;
  /** Products whose input is h: it is made again where one of them is trained. */
  readonly inputs: readonly Linear[];
  /** (T,D) holds dy; on return dx, when that is needed. */
  readonly dx: Tensor;
  /** Whether anything below is trained. */
  readonly needsInput: boolean;
}

/**
 * Backward of the products with the hooks beside them, then of the norm.
 *
 * @param products dy to dh (T,D), or null when it is not wanted     @mutates dx, what is trained
 */
export async function normedBackward(
  step: StepContext,
  layer: number,
  part: Sublayer,
  { residuals: { norm, hooked }, inputs, dx, needsInput }: NormedBackward,
  products: (wanted: boolean) => Tensor | null,
): Promise<void> {
  const { k, hooks, scratch: { h } } = step;
  const beside = hooksBeside(hooks, part.kind);
  const wanted = needsInput || isTrained(normTensors(part.norm));
  if (beside.length > 0 || inputs.some((linear) => linearIsTrained(linear, hooks, layer))) {
    normAgain(k, norm, part.norm, h);
  }
  const dh = await backwardBeside(step, beside, layer, hooked, dx, () => products(wanted));
  if (wanted && dh !== null) normBackward(k, norm, part.norm, dh, { addTo: dx });
}
