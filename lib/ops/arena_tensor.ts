// SPDX-License-Identifier: Apache-2.0
/** Results of op pairs: tensors carved from the arena, valid until the arena is released past them. */
import { assertShape } from "../core/shape.ts";
import { type Activation, numel, type Tensor, type Weight } from "../tensor/tensor.ts";
import type { Place } from "./kernels/place.ts";

/** An uninitialised tensor from the arena. */
export function arenaTensor(k: Place, shape: readonly number[]): Tensor {
  return { shape, data: k.arenaFloats(numel(shape)) };
}

/** An uninitialised activation from the arena, of the backend's type for them. */
export function arenaActivation(k: Place, shape: readonly number[]): Activation {
  return { shape, data: k.arenaActivations(numel(shape)) };
}

/** An uninitialised tensor from the arena, of the type of `like`, and of its shape unless another is given. */
export function arenaLike<A extends Activation>(k: Place, like: A, shape = like.shape): A {
  const take = like.data instanceof Uint16Array ? arenaActivation : arenaTensor;
  return take(k, shape) as A;
}

/** A copy in the arena. */
export function arenaCopy<A extends Activation>(k: Place, x: A): A {
  const copy = arenaLike(k, x);
  k.copy(copy.data, x.data);
  return copy;
}

/** Product of all dimensions but the last: how many vectors a tensor (...,D) holds. */
export function rowsOf(x: Activation): number {
  return numel(x.shape.slice(0, -1));
}

/**
 * Checks that a weight is (rows, cols) as named.
 *
 * @throws {RangeError} When it is not, naming the weight and both shapes
 */
export function assertWeight(w: Weight, rows: number, cols: number, dimensions: string): void {
  assertShape(`weight "${w.name}"`, [w.rows, w.cols], [rows, cols], dimensions);
}
