// SPDX-License-Identifier: Apache-2.0
/** The (token, neuron) pairs of a sparse adapter: how many there are, and room for them in the host arena. */
import { andThen, type Awaitable } from "../core/awaitable.ts";
import type { Place } from "./kernels/place.ts";
import type { FiredPairs, SparsePairs, SparseRouting, SparseShape } from "./kernels/rows.ts";

/** When work is done on the host lane, and with how much room. */
export interface SparseTurn {
  /** When tensors may be used by the host lane; at once when absent. */
  readonly ready?: () => Awaitable<void>;
  /** Pairs there is room for at first. Default: as many as are to be expected. */
  readonly room?: number;
  /** Takes a turn on the host lane for the work; without it there is no other. */
  readonly turn?: <T>(job: () => Awaitable<T>) => Awaitable<T>;
}

/** Room for pairs, those in it, and as much room as they need where that was too little. In the host arena. */
export function fitPairs(
  k: Place,
  shape: SparseShape,
  routing: SparseRouting,
  scoreInto: (pairs: SparsePairs) => Awaitable<number>,
  { ready, room, turn }: SparseTurn,
): Awaitable<FiredPairs> {
  const unasked = k.hostArena.mark();
  const pairs = pairsOf(k, shape, room ?? pairRoom(shape));
  const job = () =>
    andThen(andThen(ready?.(), () => scoreInto(pairs)), (count) => {
      const found = { shape, routing, pairCount: count };
      if (count <= pairs.neurons.length) return { ...found, pairs: firstPairs(pairs, count) };
      // Scope union only: all is done once more, with room in the place of what was too little.
      k.hostArena.release(unasked);
      const fitted = pairsOf(k, shape, count);
      return andThen(scoreInto(fitted), () => ({ ...found, pairs: fitted }));
    });
  return turn ? turn(job) : job();
}

/** What the number of pairs depends on. */
export type PairCounts = Pick<
  SparseShape,
  "gate" | "scope" | "tokens" | "neurons" | "experts" | "activeExperts" | "topK"
>;

/** Room beside the pairs that are to be expected in scope union: these are found anew when there is too little. */
const SPARE_ROOM = 1 / 8;

/**
 * Pairs that there is room for. Scope token: all there can be. Scope union: those to be expected were choices spread evenly,
 * which is more than there are when tokens agree; when there are more, room is made for them.
 */
export function pairRoom(shape: PairCounts): number {
  const { scope, tokens, neurons } = shape;
  if (scope === "token") return ownPairs(shape);
  const each = Math.max(pairsPerToken(shape), (1 + SPARE_ROOM) * positiveShare(shape) * unitedNeurons(shape));
  return Math.ceil(tokens * Math.min(each, neurons));
}

/**
 * Share of the union's neurons that score above 0 for a token: a half where the gate factor is positive. A raw factor has the
 * sign of the mean of its expert's n dots (a router row begins as their mean key), which agrees with that of one of them with
 * the probability 1/2 + asin(1/sqrt(n)) / pi.
 */
function positiveShare({ gate, neurons, experts }: PairCounts): number {
  return gate === "raw" ? 1 / 2 + Math.asin(Math.sqrt(experts / neurons)) / Math.PI : 1 / 2;
}

/** Neurons that at least one token chooses, were choices spread evenly: R (1 - exp(-choices / R)). */
export function unitedNeurons(shape: Omit<PairCounts, "gate" | "scope">): number {
  const { neurons } = shape;
  return Math.ceil(neurons * (1 - Math.exp(-ownPairs(shape) / Math.max(1, neurons))));
}

/** Neurons that a token may choose. */
export function pairsPerToken(
  { topK, activeExperts, neurons, experts }: Omit<PairCounts, "gate" | "scope" | "tokens">,
): number {
  return Math.min(topK, activeExperts * neurons / experts);
}

/** Pairs that tokens choose for themselves, at most: no more neurons than that are touched, in either scope. */
export function ownPairs(shape: Omit<PairCounts, "gate" | "scope">): number {
  return shape.tokens * pairsPerToken(shape);
}

function pairsOf(k: Place, shape: SparseShape, room: number): SparsePairs {
  return {
    offsets: k.hostArena.i32(shape.tokens + 1),
    neurons: k.hostArena.i32(room),
    dots: k.hostFloats(room),
    scores: k.hostFloats(room),
  };
}

function firstPairs(pairs: SparsePairs, count: number): SparsePairs {
  return {
    offsets: pairs.offsets,
    neurons: pairs.neurons.subarray(0, count),
    dots: pairs.dots.subarray(0, count),
    scores: pairs.scores.subarray(0, count),
  };
}
