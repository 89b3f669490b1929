// SPDX-License-Identifier: Apache-2.0
/** Sequences of a cache that go on from others, as beams of a search do. */
import { releasing } from "../../activations/policy.ts";
import { arenaLike } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Activation, ActivationArray } from "../../tensor/tensor.ts";
import type { KvCache } from "./kv_cache.ts";

/** Rows of a sequence that another one takes over. */
interface Move {
  readonly to: number;
  readonly from: number;
  /** First row that the two do not share. */
  readonly begin: number;
  readonly end: number;
}

/**
 * Makes each sequence a copy of another, all at once: sequence s of what was `from[s]`. Rows that two share are left alone, so
 * beams that part late cost what they have parted by; those of one source see it in one place.
 *
 * @param from (S) int32     @param shared (S) int32: leading tokens that s and `from[s]` have in common
 * @mutates cache
 * @throws {RangeError} When a sequence is not there, or shares more than there is
 */
export async function reorderCache(
  k: Kernels,
  cache: KvCache,
  from: Int32Array,
  shared: Int32Array,
): Promise<void> {
  const before = cache.lengths.slice();
  const moves = [...from].flatMap((source, to): Move[] => {
    const end = before[source];
    const begin = shared[to] as number;
    if (end === undefined) throw new RangeError(`Sequence ${to} cannot go on from ${source}`);
    if (source === to) return [];
    if (!(begin >= 0 && begin <= Math.min(end, before[to] as number))) {
      throw new RangeError(`Sequences ${to} and ${source} do not share ${begin} tokens`);
    }
    return [{ to, from: source, begin, end }];
  });
  if (moves.length === 0) return;
  for (const { keys, values } of cache.layers) {
    for (const rows of [keys, values]) {
      // deno-lint-ignore require-await -- copies are only issued
      await releasing(k, async () => moveRows(k, rows, cache.capacity, moves));
    }
  }
  const places = cache.source?.places.slice();
  for (const { to, from, end } of moves) {
    cache.lengths[to] = end;
    if (cache.source && places) cache.source.places[to] = places[from] as number;
  }
}

/** By way of the arena, as a sequence may be taken over by others and go on from one itself. @mutates rows */
function moveRows(k: Kernels, rows: Activation, capacity: number, moves: readonly Move[]): void {
  const [, heads = 0, headDim = 0] = rows.shape;
  const width = heads * headDim;
  const place = (sequence: number, { begin, end }: Move): ActivationArray =>
    rows.data.subarray((sequence * capacity + begin) * width, (sequence * capacity + end) * width);
  const taken = moves.map((move) => {
    const { data } = arenaLike(k, rows, [move.end - move.begin, width]);
    k.copy(data, place(move.from, move));
    return data;
  });
  moves.forEach((move, i) => k.copy(place(move.to, move), taken[i] as ActivationArray));
}
