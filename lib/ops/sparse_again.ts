// SPDX-License-Identifier: Apache-2.0
/**
 * The forward of a sparse adapter a second time, of what the first one chose: its experts and its top K are never chosen again,
 * so that a layer whose input was rebuilt, and is off by a rounding, fires the neurons that it fired.
 */
import { andThen, type Awaitable } from "../core/awaitable.ts";
import { assertShape } from "../core/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Place } from "./kernels/place.ts";
import type { RowKernels, SparsePairs, SparseRouting, SparseShape } from "./kernels/rows.ts";
import { type SparseConfig, type SparseParams, type SparseResiduals, sparseShape } from "./sparse.ts";
import { fitPairs, ownPairs, type SparseTurn } from "./sparse_pairs.ts";

/**
 * The y of the {@linkcode sparseForward} that left these residuals, to the bit: what it chose and how strongly that fired is
 * kept, and nothing of h is asked for.
 *
 * @param y (T,D) float, written
 * @throws {RangeError} When a shape disagrees
 * @mutates y
 */
export function sparseValues(
  k: RowKernels & Place,
  { values }: SparseParams,
  { shape, pairs }: SparseResiduals,
  y: Tensor,
  { ready, turn }: Omit<SparseTurn, "room"> = {},
): Awaitable<void> {
  assertShape("y of the sparse adapter", y.shape, [shape.tokens, shape.hidden], "T,D");
  const job = () => andThen(ready?.(), () => k.sparseValues(y.data, { shape, values, pairs }));
  return turn ? turn(job) : job();
}

/**
 * What a forward of scope union chose, in place of its pairs: a token fires half of what any token chose, hundreds of MB a layer
 * at thousands of tokens. 4 k_e bytes of experts a token, and 4 bytes of each neuron that fired, all tokens together.
 */
export interface SparseChoice {
  readonly shape: SparseShape;
  readonly routing: Pick<SparseRouting, "experts" | "expertTokens">;
  /** Neurons that fired for any token, increasing. */
  readonly united: Int32Array;
  /** Pairs that fired. */
  readonly pairCount: number;
}

/** Room in the host arena for what a forward on this h will choose. */
export function choiceRoom(
  k: RowKernels & Place,
  params: SparseParams,
  h: Tensor,
  config: SparseConfig,
): Omit<SparseChoice, "pairCount"> {
  const shape = sparseShape(params, h, config);
  return {
    shape,
    routing: {
      experts: k.hostArena.i32(shape.tokens * shape.activeExperts),
      expertTokens: k.hostArena.i32(shape.experts),
    },
    united: k.hostArena.i32(Math.min(shape.neurons, ownPairs(shape))),
  };
}

/** What a forward chose, in that room: its residuals may go. @mutates room */
export function keepChoice(
  k: RowKernels,
  { shape, routing, united }: Omit<SparseChoice, "pairCount">,
  residuals: SparseResiduals,
): SparseChoice {
  const fired = k.firedRows(residuals);
  routing.experts.set(residuals.routing.experts);
  routing.expertTokens.set(residuals.routing.expertTokens);
  united.set(fired);
  return { shape, routing, united: united.subarray(0, fired.length), pairCount: residuals.pairCount };
}

/**
 * {@linkcode sparseForward} on the same h, or one that is nearly the same, without a choice: each token fires those that score
 * above 0 among the neurons that fired for any. On the same h that is the same to the bit.
 *
 * @param h (T,D) float, read     @param y (T,D) float, written; null when only the pairs are wanted
 * @returns residuals, in the host arena
 * @throws {RangeError} When a shape disagrees
 * @mutates y
 */
export function sparseForwardAmong(
  k: RowKernels & Place,
  params: SparseParams,
  h: Tensor,
  { shape, routing: { experts, expertTokens }, united, pairCount }: SparseChoice,
  y: Tensor | null,
  options: Omit<SparseTurn, "room"> = {},
): Awaitable<SparseResiduals> {
  for (const [name, tensor] of Object.entries({ h, ...(y && { y }) })) {
    assertShape(`${name} of the sparse adapter`, tensor.shape, [shape.tokens, shape.hidden], "T,D");
  }
  const routing = { logits: k.hostFloats(shape.tokens * shape.experts), experts, expertTokens };
  const { gateWeight, keys, values } = params;
  const scoreInto = (pairs: SparsePairs): Awaitable<number> => {
    const call = { shape, h: h.data, gateWeight, keys, values, routing, pairs };
    return k.sparseForwardAmong(y?.data ?? null, call, united);
  };
  return fitPairs(k, shape, routing, scoreInto, { ...options, room: pairCount });
}
