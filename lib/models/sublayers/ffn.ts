// SPDX-License-Identifier: Apache-2.0
/** A feed-forward as a sublayer: f(h) = down(activation(gate) * up), or down(activation(up)). */
import { activationBackward, activationForward, type ActivationInputs } from "../../ops/activation.ts";
import { arenaActivation } from "../../ops/arena_tensor.ts";
import type { Activation, Tensor } from "../../tensor/tensor.ts";
import { linearSize } from "../part_tensors.ts";
import type { Ffn, Linear } from "../parts.ts";
import type { StepContext } from "./context.ts";
import { inputsBackward, inputsForward } from "./inputs.ts";
import { hookedBackward, hookedForward, linearIsTrained } from "./linear.ts";
import { normedBackward, normedForward, type NormedResiduals } from "./normed.ts";
import type { SublayerKind } from "./sublayer.ts";

/** What backward keeps besides: 2TF elements of activations, or TF of one that is not gated. */
interface FfnKept {
  /** (T,F) each, of the gate and what it is multiplied by, or of `up` alone; backward turns them into their gradients. */
  readonly inner: ActivationInputs<Activation>;
}

/** All that backward keeps. */
export type FfnSublayerResiduals = NormedResiduals & FfnKept;

/** See {@linkcode Ffn}. */
export const ffn: SublayerKind<Ffn, FfnSublayerResiduals> = {
  forward(step, layer, part, given) {
    const { k } = step;
    return normedForward(step, layer, part, given, (h, to): FfnKept => {
      const [first, up = null] = inputsForward(step, layer, part.inputs, h, widthsOf(part));
      const inner = { x: first as Activation, up };
      if (to) {
        const mark = k.arena.mark();
        hookedForward(step, layer, part.down, activationForward(k, inner, part.activation), to);
        k.arena.release(mark);
      }
      return { inner };
    });
  },

  backward(step, layer, part, residuals, dx, needsInput) {
    const back = { residuals, inputs: part.inputs, dx, needsInput };
    return normedBackward(
      step,
      layer,
      part,
      back,
      (h, dy, wanted) => frozenBackward(step, layer, part, residuals, { h, dy, wanted }),
    );
  },
};

/** Columns of gate and up, or of up. */
function widthsOf({ gated, down }: Ffn): number[] {
  const { inputs: width } = linearSize(down);
  return gated ? [width, width] : [width];
}

/** dy to dh (when that is wanted) through the products. @mutates residuals, grads of the part, what the hooks train */
function frozenBackward(
  step: StepContext,
  layer: number,
  part: Ffn,
  { inner }: FfnSublayerResiduals,
  { h, dy, wanted }: { readonly h: Tensor; readonly dy: Tensor; readonly wanted: boolean },
): Tensor | null {
  const { k, hooks } = step;
  const trained = (linear: Linear): boolean => linearIsTrained(linear, hooks, layer);
  // Only a trained `down` needs its input again; making it costs less than keeping it.
  const product = trained(part.down) ? activationForward(k, inner, part.activation) : null;
  const belowDown = wanted || part.inputs.some(trained);
  const mark = k.arena.mark();
  const to = belowDown ? { into: arenaActivation(k, inner.x.shape) } : null;
  const dproduct = hookedBackward(step, layer, part.down, product, dy, to);
  if (dproduct === null) return null;
  const { dx, dup } = activationBackward(k, inner, part.activation, dproduct, { inPlace: true });
  k.arena.release(mark); // dproduct is spent
  return inputsBackward(step, layer, part.inputs, h, dup === null ? [dx] : [dx, dup], wanted);
}
