// SPDX-License-Identifier: Apache-2.0
/** What the head sees of the residual stream: hidden = projection(finalNorm(x)), each left out where a stack lacks it. */
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { linearBackward, linearForward } from "../../ops/linear.ts";
import { normBackward, normForward, type NormResiduals } from "../../ops/norm.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Stack } from "../parts.ts";

/** What backward needs. */
export interface OutputResiduals {
  readonly norm: NormResiduals | null;
  /** (M,D) the input of the projection. */
  readonly normed: Tensor;
}

/**
 * What the head sees of rows of the residual stream.
 *
 * @param x (M,D) read     @param into (M,D) where the norm is written; in the arena when absent
 * @returns hidden (M,E); x itself where there is nothing to do. Backward keeps x and what is written into `into`.
 */
export function outputForward(
  k: Kernels,
  { finalNorm, projection }: Pick<Stack, "finalNorm" | "projection">,
  x: Tensor,
  into?: Tensor,
): { hidden: Tensor; residuals: OutputResiduals } {
  const norm = finalNorm && normForward(k, x, finalNorm, into && { into });
  const normed = norm?.y ?? x;
  const hidden = projection === null ? normed : linearForward(k, normed, projection.weight, projection);
  return { hidden, residuals: { norm: norm?.residuals ?? null, normed } };
}

/**
 * Backward of {@linkcode outputForward}.
 *
 * @param dhidden (M,E) read     @param dx (M,D) written. @mutates dx, grads of norm and projection
 */
export function outputBackward(
  k: Kernels,
  { finalNorm, projection }: Pick<Stack, "finalNorm" | "projection">,
  { norm, normed }: OutputResiduals,
  dhidden: Tensor,
  dx: Tensor,
): void {
  const dnormed = projection === null
    ? dhidden
    : linearBackward(k, normed, projection.weight, dhidden, projection);
  if (finalNorm === null || norm === null) return k.copy(dx.data, dnormed.data);
  k.zero(dx.data);
  normBackward(k, norm, finalNorm, dnormed, { addTo: dx });
}
