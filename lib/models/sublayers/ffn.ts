// SPDX-License-Identifier: Apache-2.0
/** A gated feed-forward as a sublayer: y = x + down(silu(gate(h)) * up(h)) + hook(h), h = norm(x). */
import { arenaActivation, arenaTensor } from "../../ops/arena_tensor.ts";
import { rmsNormAgain, rmsNormBackward, rmsNormForward, type RmsNormResiduals } from "../../ops/norm.ts";
import { swigluBackward, swigluForward } from "../../ops/swiglu.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import type { Ffn, Linear } from "../parts.ts";
import { hooksBeside } from "../hooks.ts";
import { backwardBeside, forwardBeside, type Hooked } from "./beside.ts";
import { isTrained, type StepContext } from "./context.ts";
import { hookedBackward, hookedForward, linearIsTrained } from "./linear.ts";
import type { SublayerKind } from "./sublayer.ts";

/** What backward keeps besides x: 2TF elements of activations, T floats, and the hook's own. */
export interface FfnSublayerResiduals {
  readonly norm: RmsNormResiduals;
  /** (T,F) each; backward turns them into their gradients. */
  readonly gate: Activation;
  readonly up: Activation;
  readonly hooked: readonly Hooked[];
}

/** See {@linkcode Ffn}. */
export const ffn: SublayerKind<Ffn, FfnSublayerResiduals> = {
  async forward(step, layer, part, x, y, again) {
    const { k } = step;
    const { h } = step.scratch;
    const beside = hooksBeside(step.hooks, part.kind);
    const { residuals: norm } = rmsNormForward(k, x, part.norm.weight, part.norm.eps, { into: h });
    const { hooked, kept } = await forwardBeside(step, beside, layer, y, () => {
      const gate = hookedForward(step, layer, part.gate, h);
      const up = hookedForward(step, layer, part.up, h);
      if (again?.needsOutput !== false) {
        k.copy(y.data, x.data);
        const mark = k.arena.mark();
        hookedForward(step, layer, part.down, swigluForward(k, gate, up), y);
        k.arena.release(mark);
      }
      return { gate, up };
    }, again);
    return { norm, hooked, ...kept };
  },

  async backward(step, layer, part, residuals, dx, needsInput) {
    const { k, hooks, scratch } = step;
    const { norm, hooked } = residuals;
    const beside = hooksBeside(hooks, part.kind);
    const wanted = needsInput || isTrained([part.norm.weight]);
    const inputs: Linear[] = [part.gate, part.up];
    if (beside.length > 0 || inputs.some((linear) => linearIsTrained(linear, hooks, layer))) {
      rmsNormAgain(k, norm, part.norm.weight, part.norm.eps, scratch.h);
    }
    const dh = await backwardBeside(
      step,
      beside,
      layer,
      hooked,
      dx,
      () => frozenBackward(step, layer, part, residuals, dx, wanted),
    );
    if (wanted && dh !== null) rmsNormBackward(k, norm, part.norm.weight, dh, { addTo: dx });
  },
};

/** dy to dh (when that is wanted) through the three products. @mutates residuals, grads of the part, what the hook trains */
function frozenBackward(
  step: StepContext,
  layer: number,
  part: Ffn,
  { gate, up }: FfnSublayerResiduals,
  dy: Tensor,
  wanted: boolean,
): Tensor | null {
  const { k, hooks, scratch: { h } } = step;
  const trained = (linear: Linear): boolean => linearIsTrained(linear, hooks, layer);
  // Only a trained `down` needs its input again; making it costs less than keeping it.
  const product = trained(part.down) ? swigluForward(k, gate, up) : null;
  const belowDown = wanted || trained(part.gate) || trained(part.up);
  const to = belowDown ? { into: arenaActivation(k, gate.shape) } : null;
  const dproduct = hookedBackward(step, layer, part.down, product, dy, to);
  if (dproduct === null) return null;
  const { dgate, dup } = swigluBackward(k, { gate, up }, dproduct, { inPlace: true });
  const into = wanted ? { into: arenaTensor(k, h.shape) } : null;
  const dh = hookedBackward(step, layer, part.gate, h, dgate, into);
  return hookedBackward(step, layer, part.up, h, dup, dh && { addTo: dh });
}
