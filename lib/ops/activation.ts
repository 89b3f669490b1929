// SPDX-License-Identifier: Apache-2.0
/** Functions of single elements, alone or as the gate of another product (Shazeer, 2020). */
import { assertShape } from "../core/shape.ts";
import type { Activation } from "../tensor/tensor.ts";
import { arenaLike } from "./arena_tensor.ts";
import type { ActivationKind, ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** What goes in, and what backward keeps. */
export interface ActivationInputs<A extends Activation> {
  /** (...,F) float or bf16. */
  readonly x: A;
  /** (...,F) of the same type: what f(x) is multiplied by. Null where it is alone. */
  readonly up: A | null;
}

/** `inPlace`: the results take the memory of x, and of up, which are spent. */
export interface ActivationOptions {
  readonly inPlace?: boolean;
}

/**
 * y = f(x), or f(x) * up, elementwise. With s(x) = 1/(1 + exp(-x)) and P(x) the cumulative normal distribution, f(x) is
 *
 * identity x | relu max(x, 0) | silu x s(x) | quick_gelu x s(1.702 x) | gelu x P(x) = x/2 (1 + erf(x/sqrt(2)))
 * gelu_tanh x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) | tanh | sigmoid s(x)
 *
 * @returns y (...,F) of x's type, in the arena or in place of x. Backward keeps x and up; of a relu in place, y.
 * @mutates x, when inPlace
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function activationForward<A extends Activation>(
  k: ModelKernels & Place,
  { x, up }: ActivationInputs<A>,
  kind: ActivationKind,
  options: ActivationOptions = {},
): A {
  if (up) assertShape(`up of ${kind}`, up.shape, x.shape, "...,F");
  const y = options.inPlace ? x : arenaLike(k, x);
  k.activationForward(y.data, x.data, up?.data ?? null, kind);
  return y;
}

/**
 * An activation, backward: dx = dy * up * f'(x),  dup = dy * f(x); alone dx = dy * f'(x). The slope of relu is 0 at its
 * kink, and is told by its y as well as by its x.
 *
 * @param inputs As given to forward     @param dy (...,F) of x's type, read
 * @returns dx and dup (...,F) of x's type; dup null where there is no up
 * @mutates inputs, when inPlace
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function activationBackward<A extends Activation, Up extends A | null>(
  k: ModelKernels & Place,
  { x, up }: ActivationInputs<A> & { readonly up: Up },
  kind: ActivationKind,
  dy: A,
  options: ActivationOptions = {},
): { dx: A; dup: Up } {
  if (up) assertShape(`up of ${kind}`, up.shape, x.shape, "...,F");
  assertShape(`dy of ${kind}`, dy.shape, x.shape, "...,F");
  const dx = options.inPlace ? x : arenaLike(k, x);
  const dup = (up && !options.inPlace ? arenaLike(k, up) : up) as Up;
  k.activationBackward(dx.data, dup?.data ?? null, dy.data, x.data, up?.data ?? null, kind);
  return { dx, dup };
}
