// SPDX-License-Identifier: Apache-2.0
/** The gated activation of a feed-forward half (Shazeer, 2020): silu(gate) * up. */
import { assertShape } from "../core/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { arenaTensor } from "./arena_tensor.ts";
import type { Kernels } from "./kernels.ts";

/**
 * SwiGLU: y = silu(gate) * up,  silu(x) = x / (1 + exp(-x)).
 *
 * @param gate (...,F) float     @param up (...,F) float
 * @returns y (...,F) float, in the arena. Backward keeps gate and up.
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function swigluForward(k: Kernels, gate: Tensor, up: Tensor): Tensor {
  assertShape("up of swiglu", up.shape, gate.shape, "...,F");
  const y = arenaTensor(k, gate.shape);
  k.swigluForward(y.data, gate.data, up.data);
  return y;
}

/**
 * SwiGLU, backward. With s = 1/(1 + exp(-gate)):  dup = dy * gate * s,  dgate = dy * up * s * (1 + gate * (1 - s)).
 *
 * @param residuals gate and up (...,F) float as given to forward
 * @param dy (...,F) float, read
 * @param options `inPlace`: the results take the memory of gate and up, which are spent
 * @returns dgate and dup (...,F) float
 * @mutates residuals, when inPlace
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function swigluBackward(
  k: Kernels,
  residuals: { readonly gate: Tensor; readonly up: Tensor },
  dy: Tensor,
  options: { readonly inPlace?: boolean } = {},
): { dgate: Tensor; dup: Tensor } {
  const { gate, up } = residuals;
  assertShape("up of swiglu", up.shape, gate.shape, "...,F");
  assertShape("dy of swiglu", dy.shape, gate.shape, "...,F");
  const dgate = options.inPlace ? gate : arenaTensor(k, gate.shape);
  const dup = options.inPlace ? up : arenaTensor(k, up.shape);
  k.swigluBackward(dgate.data, dup.data, dy.data, gate.data, up.data);
  return { dgate, dup };
}
