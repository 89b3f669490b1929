// SPDX-License-Identifier: Apache-2.0
/** A gated feed-forward as a sublayer: y = x + down(silu(gate(h)) * up(h)) + hook(h), h = norm(x). */
import { activationBackward, activationForward } from "../../ops/activation.ts";
import { arenaActivation, arenaTensor } from "../../ops/arena_tensor.ts";
import { normForward } from "../../ops/norm.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import type { Ffn, Linear } from "../parts.ts";
import { hooksBeside } from "../hooks.ts";
import { forwardBeside } from "./beside.ts";
import type { StepContext } from "./context.ts";
import { hookedBackward, hookedForward, linearIsTrained } from "./linear.ts";
import { normedBackward, type NormedResiduals } from "./normed.ts";
import type { SublayerKind } from "./sublayer.ts";

/** What backward keeps besides x: 2TF elements of activations, T floats, and the hook's own. */
export interface FfnSublayerResiduals extends NormedResiduals {
  /** (T,F) each; backward turns them into their gradients. */
  readonly gate: Activation;
  readonly up: Activation;
}

/** See {@linkcode Ffn}. */
export const ffn: SublayerKind<Ffn, FfnSublayerResiduals> = {
  async forward(step, layer, part, x, y, again) {
    const { k } = step;
    const { h } = step.scratch;
    const beside = hooksBeside(step.hooks, part.kind);
    const { residuals: norm } = normForward(k, x, part.norm, { into: h });
    const { hooked, kept } = await forwardBeside(step, beside, layer, y, () => {
      const gate = hookedForward(step, layer, part.gate, h);
      const up = hookedForward(step, layer, part.up, h);
      if (again?.needsOutput !== false) {
        k.copy(y.data, x.data);
        const mark = k.arena.mark();
        hookedForward(step, layer, part.down, activationForward(k, { x: gate, up }, "silu"), y);
        k.arena.release(mark);
      }
      return { gate, up };
    }, again);
    return { norm, hooked, ...kept };
  },

  backward(step, layer, part, residuals, dx, needsInput) {
    return normedBackward(
      step,
      layer,
      part,
      { residuals, inputs: [part.gate, part.up], dx, needsInput },
      (wanted) => frozenBackward(step, layer, part, residuals, dx, wanted),
    );
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
  const product = trained(part.down) ? activationForward(k, { x: gate, up }, "silu") : null;
  const belowDown = wanted || trained(part.gate) || trained(part.up);
  const to = belowDown ? { into: arenaActivation(k, gate.shape) } : null;
  const dproduct = hookedBackward(step, layer, part.down, product, dy, to);
  if (dproduct === null) return null;
  const { dx: dgate, dup } = activationBackward(k, { x: gate, up }, "silu", dproduct, { inPlace: true });
  const into = wanted ? { into: arenaTensor(k, h.shape) } : null;
  const dh = hookedBackward(step, layer, part.gate, h, dgate, into);
  return hookedBackward(step, layer, part.up, h, dup, dh && { addTo: dh });
}
