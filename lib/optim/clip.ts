// SPDX-License-Identifier: Apache-2.0
/** Clipping by the norm of gradients: of all together, or of each layer's. */
import { allOf, andThen, type Awaitable } from "../core/awaitable.ts";
import type { ModelKernels } from "../ops/kernels/model.ts";
import { isTrained, liveGradient, type Parameter } from "./parameters.ts";

/**
 * Euclidean norm of all gradients as one vector, summed in f64 in the order of the parameters; not finite when a
 * gradient holds a value that is not.
 *
 * @param known Sums of squares that were taken already
 */
export function globalNorm(
  k: ModelKernels,
  parameters: readonly Parameter[],
  known?: ReadonlyMap<Parameter, number>,
): Awaitable<number> {
  return andThen(gradientSquares(k, parameters, known), normOfSquares);
}

/** The norm of gradients by their sums of squares, in their order. */
export function normOfSquares(squares: ReadonlyMap<Parameter, number>): number {
  let sum = 0;
  for (const square of squares.values()) sum += square;
  return Math.sqrt(sum);
}

/**
 * Sums of squares of the gradients of those that are trained, in the order of the parameters.
 *
 * @param known Those that were taken already
 */
export function gradientSquares(
  k: ModelKernels,
  parameters: readonly Parameter[],
  known?: ReadonlyMap<Parameter, number>,
): Awaitable<Map<Parameter, number>> {
  const trained = parameters.filter(isTrained);
  // All are asked for before the first is waited for.
  const squares = trained.map((parameter) => known?.get(parameter) ?? k.sumSquares(liveGradient(parameter)));
  return andThen(
    allOf(squares),
    (sums) => new Map(trained.map((parameter, i) => [parameter, sums[i] as number])),
  );
}

/** The gradients whose norm is limited. */
export type ClipScope = "all" | "layer";

/** The limit of the norm of these gradients; null where they are not clipped by it. */
export function clipOf(
  { clip, clipBy }: { readonly clip: number | null; readonly clipBy: ClipScope },
  scope: ClipScope,
): number | null {
  return clipBy === scope ? clip : null;
}

/**
 * The factor that brings gradients of this norm to at most `clip`: min(1, clip / (norm + 1e-6)), as PyTorch's
 * `clip_grad_norm_`. 1 without a limit.
 */
export function clipFactor(norm: number, clip: number | null): number {
  return clip === null ? 1 : Math.min(1, clip / (norm + 1e-6));
}
