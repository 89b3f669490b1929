// SPDX-License-Identifier: Apache-2.0
/** The gated activation of a feed-forward (Shazeer, 2020): silu(gate) * up. */
import { assertShape } from "../core/shape.ts";
import type { Activation } from "../tensor/tensor.ts";
import { arenaLike } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/**
 * SwiGLU: y = silu(gate) * up,  silu(x) = x / (1 + exp(-x)).
 *
 * @param gate (...,F) float or bf16     @param up (...,F) of the same type
 * @returns y (...,F) of the same type, in the arena. Backward keeps gate and up.
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function swigluForward<A extends Activation>(k: ModelKernels & Place, gate: A, up: A): A {
  assertShape("up of swiglu", up.shape, gate.shape, "...,F");
  const y = arenaLike(k, gate);
  k.swigluForward(y.data, gate.data, up.data);
  return y;
}

/**
 * SwiGLU, backward. With s = 1/(1 + exp(-gate)):  dup = dy * gate * s,  dgate = dy * up * s * (1 + gate * (1 - s)).
 *
 * @param residuals gate and up (...,F) as given to forward
 * @param dy (...,F) of the same type, read
 * @param options `inPlace`: the results take the memory of gate and up, which are spent
 * @returns dgate and dup (...,F) of the same type
 * @mutates residuals, when inPlace
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function swigluBackward<A extends Activation>(
  k: ModelKernels & Place,
  residuals: { readonly gate: A; readonly up: A },
  dy: A,
  options: { readonly inPlace?: boolean } = {},
): { dgate: A; dup: A } {
  const { gate, up } = residuals;
  assertShape("up of swiglu", up.shape, gate.shape, "...,F");
  assertShape("dy of swiglu", dy.shape, gate.shape, "...,F");
  const dgate = options.inPlace ? gate : arenaLike(k, gate);
  const dup = options.inPlace ? up : arenaLike(k, up);
  k.swigluBackward(dgate.data, dup.data, dy.data, gate.data, up.data);
  return { dgate, dup };
}
