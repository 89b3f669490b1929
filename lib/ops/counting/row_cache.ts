// SPDX-License-Identifier: Apache-2.0
/**
 * Slots of rows, counted: second chance as `lib/ops/row_cache.ts` does it row by row, on stretches of rows that share their
 * fate. What is written down does not grow with the rows.
 */
import type { CacheCounts, RowCache, SlotRun } from "../row_cache.ts";
import { phantom } from "./phantom.ts";

/** Neighbouring rows in neighbouring slots. */
interface Stretch {
  readonly slot: number;
  readonly row: number;
  readonly count: number;
  /** Turn that they were last asked for in. */
  readonly turn: number;
  readonly recent: boolean;
  readonly dirty: boolean;
}

/** Whole numbers from `first` on. */
interface Range {
  readonly first: number;
  readonly count: number;
}

/** In the place of a row's number, where a row has left its slot: no row is before it or behind it. */
const NOBODY = -Infinity;
const EMPTY = { row: NOBODY, recent: false, dirty: false } as const;

/**
 * An empty cache of `capacity` slots. Rows are arrays without memory, whose place in their buffer is the first row.
 *
 * @param least Slots that are said to be in use at least, as far as there are so many
 */
export function countedRowCache(capacity: number, least: () => number = () => 0): RowCache {
  const counts: CacheCounts = { hits: 0, misses: 0, evictions: 0 };
  /** All slots in use, by increasing slot. */
  let stretches: Stretch[] = [];
  let [turn, used, hand] = [0, 0, 0];

  /** Marks the rows that are there; @returns those that are not. */
  const hit = (asked: Range): Range[] => {
    stretches = stretches.flatMap((one) => cutAt(one, asked.first - one.row))
      .flatMap((one) => cutAt(one, asked.first + asked.count - one.row))
      .map((one) => within(one, asked) ? { ...one, turn, recent: true } : one);
    const held = stretches.filter((one) => within(one, asked));
    counts.hits += sizeOf(held);
    return gapsOf(asked, held);
  };
  /** Moves the hand to slots that can be given away; @returns the stretch that begins there. */
  const victim = (): Stretch => {
    for (;;) {
      stretches = stretches.flatMap((one) => cutAt(one, hand - one.slot));
      const i = stretches.findIndex(({ slot }) => slot === hand);
      const one = stretches[i] as Stretch;
      if (one.turn !== turn && !one.recent) return one;
      if (one.turn !== turn) stretches[i] = { ...one, recent: false };
      hand = (one.slot + one.count) % capacity;
    }
  };
  const install = ({ first, count }: Range, evicted: Stretch[]): Stretch[] => {
    const made: Stretch[] = [];
    for (let done = 0; done < count;) {
      const old = used < capacity ? null : victim();
      const [slot, room] = old === null ? [used, capacity - used] : [old.slot, old.count];
      const fresh = {
        ...{ slot, row: first + done, count: Math.min(room, count - done) },
        ...{ turn, recent: true, dirty: false },
      };
      if (old === null) {
        used += fresh.count;
        stretches.push(fresh);
      } else {
        const [given, left] = cutAt(old, fresh.count) as [Stretch, Stretch?];
        stretches.splice(stretches.indexOf(old), 1, fresh, ...(left ? [left] : []));
        if (given.row !== NOBODY) counts.evictions += given.count;
        if (given.dirty) evicted.push(given);
        hand = (slot + fresh.count) % capacity;
      }
      made.push(fresh);
      done += fresh.count;
    }
    counts.misses += count;
    return made;
  };
  /** Where rows lay when they were asked for, by the slots that were told. */
  const laid = new WeakMap<Int32Array, readonly Stretch[]>();
  /** Takes away what lies in the way of a stretch, or is a part of it elsewhere; @returns what is missing of it. */
  const clear = (whole: Stretch, evicted: Stretch[]): Range[] => {
    const overlaps = (a: number, b: number, count: number): boolean => a < b + whole.count && b < a + count;
    for (const by of ["slot", "row"] as const) {
      stretches = stretches.flatMap((one) => cutAt(one, whole[by] - one[by]))
        .flatMap((one) => cutAt(one, whole[by] + whole.count - one[by]));
    }
    const concerned = stretches.filter(({ slot, row, count }) =>
      overlaps(slot, whole.slot, count) || overlaps(row, whole.row, count)
    );
    const stays = ({ slot, row }: Stretch): boolean =>
      slot - whole.slot === row - whole.row && slot >= whole.slot && slot < whole.slot + whole.count;
    const [held, leaving] = [concerned.filter(stays), concerned.filter((one) => !stays(one))];
    stretches = stretches.filter((one) => !leaving.includes(one))
      .map((one) => held.includes(one) ? { ...one, turn, recent: true } : one);
    // Slots that only lost their rows are there, with nobody in them.
    stretches.push(
      ...leaving.filter(({ slot }) => !overlaps(slot, whole.slot, 1)).map((one) => ({ ...one, ...EMPTY })),
    );
    counts.hits += sizeOf(held);
    counts.evictions += sizeOf(leaving.filter(({ row }) => row !== NOBODY));
    evicted.push(...leaving.filter(({ dirty }) => dirty));
    return gapsOf({ first: whole.row, count: whole.count }, held);
  };
  const takeAt = (whole: readonly Stretch[]): { evicted: Stretch[]; installed: Stretch[] } => {
    const evicted: Stretch[] = [];
    const missing = whole.flatMap((one) =>
      clear(one, evicted).map(({ first, count }): Stretch => ({
        ...{ slot: one.slot + first - one.row, row: first, count },
        ...{ turn, recent: true, dirty: false },
      }))
    );
    stretches.push(...missing);
    counts.misses += sizeOf(missing);
    return { evicted, installed: missing };
  };
  return {
    capacity,
    get used() {
      return Math.max(used, Math.min(capacity, least()));
    },
    counts,
    take(wanted, at) {
      turn++;
      const asked = { first: wanted.byteOffset / wanted.BYTES_PER_ELEMENT, count: wanted.length };
      if (at !== undefined) {
        const { evicted, installed } = takeAt(laid.get(at) ?? []);
        return { slots: at, evicted: runsOf(evicted), installed: runsOf(installed) };
      }
      const evicted: Stretch[] = [];
      const installed = hit(asked).flatMap((range) => install(range, evicted));
      const slots = phantom("i32", wanted.length);
      laid.set(slots, stretches.filter((one) => within(one, asked)));
      return { slots, evicted: runsOf(evicted), installed: runsOf(installed) };
    },
    touch() {
      stretches = stretches.map((one) => one.turn === turn ? { ...one, dirty: true } : one);
    },
    touched: () => runsOf(stretches.filter(({ dirty }) => dirty)),
    nextGeneration() {
      stretches = [];
      [used, hand] = [0, 0];
    },
  };
}

function sizeOf(stretches: readonly Stretch[]): number {
  return stretches.reduce((sum, { count }) => sum + count, 0);
}

/** Rows that none of some stretches holds, which lie among them. */
function gapsOf({ first, count }: Range, held: readonly Stretch[]): Range[] {
  const gaps: Range[] = [];
  let next = first;
  const sorted = held.toSorted((a, b) => a.row - b.row);
  for (const one of [...sorted, { row: first + count, count: 0 }]) {
    if (one.row > next) gaps.push({ first: next, count: one.row - next });
    next = one.row + one.count;
  }
  return gaps;
}

/** Two stretches in the place of one: of its first `count` rows, and of the others. */
function cutAt(one: Stretch, count: number): Stretch[] {
  if (count <= 0 || count >= one.count) return [one];
  const { slot, row } = one;
  return [
    { ...one, count },
    { ...one, slot: slot + count, row: row + count, count: one.count - count },
  ];
}

/** Whether all rows of a stretch, which ends at the range's ends, are of it. */
function within({ row }: Stretch, { first, count }: Range): boolean {
  return row >= first && row < first + count;
}

/** Neighbouring slots together. */
function runsOf(stretches: readonly Stretch[]): SlotRun[] {
  const runs: Range[] = [];
  for (const { slot, count } of stretches.toSorted((a, b) => a.slot - b.slot)) {
    const last = runs.at(-1);
    if (last && last.first + last.count === slot) runs.splice(-1, 1, { ...last, count: last.count + count });
    else runs.push({ first: slot, count });
  }
  return runs.map(({ first, count }) => ({ slot: first, rows: phantom("i32", count) }));
}
