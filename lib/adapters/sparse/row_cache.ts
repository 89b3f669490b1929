// SPDX-License-Identifier: Apache-2.0
/**
 * Which rows of a layer lie in which slots of the model's memory. Pure bookkeeping: rows are brought and gradients fetched by
 * whoever asks. Slots are reused by second chance: a row that was used since the hand last passed is passed once more.
 */
import type { Place } from "../../ops/kernels/place.ts";

/** What must be done before the rows asked for are in their slots, in this order. */
export interface CacheTurn {
  /** Slot of each row asked for. */
  readonly slots: Int32Array;
  /** Rows that lose their slots: their gradients must be fetched first. */
  readonly evicted: readonly SlotRow[];
  /** Rows that must be brought, by increasing slot. */
  readonly installed: readonly SlotRow[];
}

/** A row and its slot. */
export interface SlotRow {
  readonly row: number;
  readonly slot: number;
}

/** What a cache has seen. */
export interface CacheCounts {
  hits: number;
  misses: number;
  evictions: number;
}

/** Slots of one layer. */
export interface RowCache {
  readonly capacity: number;
  /** Slots beyond this have never held a row of this generation. */
  readonly used: number;
  readonly counts: Readonly<CacheCounts>;
  /**
   * Gives every row a slot.
   *
   * @param rows Distinct, at most `capacity`     @throws {RangeError} When there are more
   */
  take(rows: Int32Array): CacheTurn;
  /** Rows that have a slot, by increasing slot. */
  resident(): SlotRow[];
  /** Forgets all rows: they have changed. What lies in the slots is stale. */
  nextGeneration(): void;
}

/**
 * An empty cache.
 *
 * @param k Gives the memory for what is written down of rows and slots
 * @param capacity Slots, at least 1     @param rows Rows that there are: numbers from 0
 */
export function createRowCache(k: Pick<Place, "indices">, capacity: number, rows: number): RowCache {
  if (!(Number.isInteger(capacity) && capacity >= 1)) {
    throw new RangeError(`A row cache has ${capacity} slots, expected a whole number of at least 1`);
  }
  const slotOf = k.indices(rows);
  const rowOf = k.indices(capacity);
  const recent = k.indices(capacity);
  /** Turn that a slot was last asked for in: such a slot cannot be given away in that turn. */
  const turnOf = k.indices(capacity);
  const counts: CacheCounts = { hits: 0, misses: 0, evictions: 0 };
  let [turn, used, hand] = [0, 0, 0];

  const holds = (slot: number, row: number): boolean => slot < used && rowOf[slot] === row;
  const free = (): number => {
    if (used < capacity) return used++;
    for (;; hand = (hand + 1) % capacity) {
      if (turnOf[hand] === turn) continue;
      if (recent[hand] === 0) break;
      recent[hand] = 0;
    }
    const slot = hand;
    hand = (hand + 1) % capacity;
    return slot;
  };
  return {
    capacity,
    get used() {
      return used;
    },
    counts,
    take(wanted) {
      if (wanted.length > capacity) {
        throw new RangeError(`${wanted.length} rows do not fit ${capacity} slots: take them in chunks`);
      }
      turn++;
      const slots = new Int32Array(wanted.length).fill(-1);
      wanted.forEach((row, i) => {
        const slot = slotOf[row] as number;
        if (!holds(slot, row)) return;
        slots[i] = slot;
        turnOf[slot] = turn;
        recent[slot] = 1;
        counts.hits++;
      });
      const [evicted, installed]: [SlotRow[], SlotRow[]] = [[], []];
      wanted.forEach((row, i) => {
        if (slots[i] !== -1) return;
        const fresh = used < capacity;
        const slot = free();
        if (!fresh) {
          evicted.push({ row: rowOf[slot] as number, slot });
          counts.evictions++;
        }
        [slotOf[row], rowOf[slot]] = [slot, row];
        [slots[i], turnOf[slot], recent[slot]] = [slot, turn, 1];
        installed.push({ row, slot });
        counts.misses++;
      });
      installed.sort((a, b) => a.slot - b.slot);
      return { slots, evicted, installed };
    },
    resident() {
      return Array.from({ length: used }, (_, slot) => ({ row: rowOf[slot] as number, slot }));
    },
    nextGeneration() {
      [used, hand] = [0, 0];
    },
  };
}

/** Pieces of at most `capacity` rows, in order. */
export function rowChunks(rows: Int32Array, capacity: number): Int32Array[] {
  return Array.from(
    { length: Math.ceil(rows.length / capacity) },
    (_, i) => rows.subarray(i * capacity, (i + 1) * capacity),
  );
}
