// SPDX-License-Identifier: Apache-2.0
/** The function of a coupling that stands alone: f(x) = the sum of its hooks on rms(x), without a residual path. */
import type { Again, Stage } from "../../activations/policy.ts";
import { normAgain, normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import { hooksBeside } from "../hooks.ts";
import type { Norm } from "../parts.ts";
import { ALONE } from "../wiring/coupling.ts";
import { backwardBeside, forwardBeside, type Hooked } from "./beside.ts";
import type { StepContext } from "./context.ts";

/** Of its input: without a weight, as that is one of the adapters'. */
const NORM: Norm = { kind: "rms", weight: null, bias: null, eps: 1e-6, unitOffset: false };

/** What backward keeps besides the input. */
export interface AloneResiduals {
  readonly norm: NormResiduals;
  readonly hooked: readonly Hooked[];
}

/**
 * The function of a layer.
 *
 * @param needsInput Whether anything below it is trained
 */
export function aloneStage(
  step: StepContext,
  layer: number,
  needsInput: boolean,
): Stage<AloneResiduals> {
  const { k, scratch } = step;
  const hooks = hooksBeside(step.hooks, ALONE, layer);
  return {
    async forward(x, y, again?: Again<AloneResiduals>) {
      const { y: h, residuals } = normForward(k, x, NORM, { into: scratch.h });
      const { hooked } = await forwardBeside(step, { hooks, layer, h, again }, y, () => k.zero(y.data));
      return { norm: residuals, hooked };
    },
    async backward({ norm: residuals, hooked }, dx) {
      const h = normAgain(k, residuals, NORM, scratch.h);
      const dh = await backwardBeside(step, { hooks, layer, h }, hooked, dx, () => null);
      if (!needsInput) return;
      k.zero(dx.data);
      if (dh !== null) normBackward(k, residuals, NORM, dh, { addTo: dx });
    },
  };
}
