// SPDX-License-Identifier: Apache-2.0
/** A low-rank delta of a linear layer (LoRA; Hu et al., ICLR 2022): y += s (x' A^T) B^T, x' = dropout(x). */
import type { DropoutMask } from "../core/rng.ts";
import type { Activation, Tensor, Weight } from "../tensor/tensor.ts";
import { arenaTensor, assertWeight } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";
import { linearBackward, linearBackwardWeight, linearForward } from "./linear.ts";

/** The two factors of a delta, s B A, and their scale. */
export interface LowRank {
  /** (R,I). */
  readonly a: Weight;
  /** (O,R). */
  readonly b: Weight;
  /** s. */
  readonly scale: number;
}

/**
 * Low-rank delta: u = s x' A^T,  y += u B^T.
 *
 * @param x (...,I) float or bf16, read     @param y (...,O) float or bf16, accumulated: bf16 is rounded once more, as the
 *   sum of two linear layers in bf16 is
 * @param mask Dropout of x; null for none. Backward keeps x and nothing else: u is cheaper made again than kept.
 * @mutates y
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function lowRankForward(
  k: ModelKernels & Place,
  x: Activation,
  y: Activation,
  delta: LowRank,
  mask: DropoutMask | null = null,
): void {
  assertFactors(delta);
  const mark = k.arena.mark();
  linearForward(k, down(k, masked(k, x, mask), delta), delta.b, { addTo: y });
  k.arena.release(mark);
}

/**
 * Low-rank delta, backward. With u as in forward and du = s dy B:  dB += dy^T u,  dA += du^T x',  dx += mask'(du A).
 *
 * @param x (...,I) as given to forward     @param dy (...,O) float or bf16, read
 * @param dx (...,I) float or bf16, accumulated; null when nothing needs it     @param mask As given to forward
 * @mutates dx, delta.a.grad, delta.b.grad
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function lowRankBackward(
  k: ModelKernels & Place,
  x: Activation,
  dy: Activation,
  dx: Activation | null,
  delta: LowRank,
  mask: DropoutMask | null = null,
): void {
  assertFactors(delta);
  const mark = k.arena.mark();
  const seen = masked(k, x, mask);
  const du = linearBackward(k, down(k, seen, delta), delta.b, dy);
  scaleInPlace(k, du, delta.scale);
  if (dx === null) linearBackwardWeight(k, seen, delta.a, du);
  else if (mask === null) linearBackward(k, seen, delta.a, du, { addTo: dx });
  else k.dropout(dx.data, linearBackward(k, seen, delta.a, du).data, mask, true);
  k.arena.release(mark);
}

function assertFactors({ a, b }: LowRank): void {
  assertWeight(b, b.rows, a.rows, "O,R");
}

/** x', float in the arena when there is a mask. */
function masked(k: ModelKernels & Place, x: Activation, mask: DropoutMask | null): Activation {
  if (mask === null) return x;
  const kept = arenaTensor(k, x.shape);
  k.dropout(kept.data, x.data, mask, false);
  return kept;
}

/** u (...,R), in the arena. */
function down(k: ModelKernels & Place, x: Activation, { a, scale }: LowRank): Tensor {
  return scaleInPlace(k, linearForward(k, x, a), scale);
}

/** @mutates x */
function scaleInPlace(k: ModelKernels & Place, x: Tensor, scale: number): Tensor {
  if (scale !== 1) k.scale(x.data, scale);
  return x;
}
