// SPDX-License-Identifier: Apache-2.0
/**
 * Which rows of a layer lie in which slots of the model's memory. Pure bookkeeping: rows are brought and gradients fetched by
 * whoever asks. Slots are reused by second chance: a row that was used since the hand last passed is passed once more.
 */
import type { Place } from "./kernels/place.ts";

/** Rows in slots one after the other. */
export interface SlotRun {
  /** The first slot. */
  readonly slot: number;
  readonly rows: Int32Array;
}

/** What must be done before the rows asked for are in their slots, in this order. */
export interface CacheTurn {
  /** Slot of each row asked for. */
  readonly slots: Int32Array;
  /** Rows with gradients that lose their slots, by increasing slot: these must be fetched first. */
  readonly evicted: readonly SlotRun[];
  /** Rows that must be brought, by increasing slot. */
  readonly installed: readonly SlotRun[];
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
   * @param rows Distinct, at most `capacity`
   * @param at The slots that an earlier turn of this generation gave these rows: then they get the same
   * @throws {RangeError} When there are more rows, or those slots are of another generation
   */
  take(rows: Int32Array, at?: Int32Array): CacheTurn;
  /** Gradients in these slots, which the last turn gave, are about to be added to. */
  touch(slots: Int32Array): void;
  /** Rows with gradients, by increasing slot. */
  touched(): readonly SlotRun[];
  /** Forgets all rows: they have changed. What lies in the slots is stale. */
  nextGeneration(): void;
}

/** In the place of a row's number: the row that was in a slot has left it. */
const NOBODY = -1;

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
  /** 1 where there is a gradient. */
  const dirty = k.indices(capacity);
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
  /** Empties a slot; @returns what must be fetched of it. */
  const empty = (slot: number): SlotRow[] => {
    const row = rowOf[slot] as number;
    if (row === NOBODY) return [];
    counts.evictions++;
    const left = dirty[slot] === 1 ? [{ row, slot }] : [];
    [rowOf[slot], dirty[slot], recent[slot]] = [NOBODY, 0, 0];
    return left;
  };
  const takeAt = (wanted: Int32Array, at: Int32Array): CacheTurn => {
    const placed = Array.from(wanted, (row, i): SlotRow => ({ row, slot: at[i] as number }));
    if (!placed.every(({ slot }) => slot < used)) throw new RangeError("Slots of rows that were forgotten");
    turn++;
    for (const { slot } of placed) [turnOf[slot], recent[slot]] = [turn, 1];
    const missing = placed.filter(({ row, slot }) => !holds(slot, row));
    counts.hits += placed.length - missing.length;
    counts.misses += missing.length;
    const evicted = missing.flatMap(({ row, slot }) => {
      const elsewhere = slotOf[row] as number;
      return [...holds(elsewhere, row) ? empty(elsewhere) : [], ...empty(slot)];
    });
    for (const { row, slot } of missing) [slotOf[row], rowOf[slot], recent[slot]] = [slot, row, 1];
    return { slots: at, evicted: runsOf(evicted), installed: runsOf(missing) };
  };
  return {
    capacity,
    get used() {
      return used;
    },
    counts,
    take(wanted, at) {
      if (at !== undefined) return takeAt(wanted, at);
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
          evicted.push(...empty(slot));
        }
        [slotOf[row], rowOf[slot]] = [slot, row];
        [slots[i], turnOf[slot], recent[slot], dirty[slot]] = [slot, turn, 1, 0];
        installed.push({ row, slot });
        counts.misses++;
      });
      return { slots, evicted: runsOf(evicted), installed: runsOf(installed) };
    },
    touch: (slots) => slots.forEach((slot) => dirty[slot] = 1),
    touched() {
      const resident = Array.from({ length: used }, (_, slot) => ({ row: rowOf[slot] as number, slot }));
      return runsOf(resident.filter(({ slot }) => dirty[slot] === 1));
    },
    nextGeneration() {
      [used, hand] = [0, 0];
    },
  };
}

/** A row and its slot. */
interface SlotRow {
  readonly row: number;
  readonly slot: number;
}

/** Neighbouring slots together. */
function runsOf(entries: readonly SlotRow[]): SlotRun[] {
  const sorted = entries.toSorted((a, b) => a.slot - b.slot);
  const runs: SlotRun[] = [];
  let begin = 0;
  for (let i = 1; i <= sorted.length; i++) {
    const [last, next] = [sorted[i - 1] as SlotRow, sorted[i]];
    if (next && next.slot === last.slot + 1) continue;
    const piece = sorted.slice(begin, i);
    runs.push({ slot: (piece[0] as SlotRow).slot, rows: Int32Array.from(piece, ({ row }) => row) });
    begin = i;
  }
  return runs;
}

/** Pieces of runs, of at most `most` rows each. */
export function piecesOf(runs: readonly SlotRun[], most: number): SlotRun[] {
  return runs.flatMap(({ slot, rows }) =>
    rowChunks(rows, most).map((piece, i) => ({ slot: slot + i * most, rows: piece }))
  );
}

/** Pieces of at most `capacity` rows, in order. */
export function rowChunks(rows: Int32Array, capacity: number): Int32Array[] {
  return Array.from(
    { length: Math.ceil(rows.length / capacity) },
    (_, i) => rows.subarray(i * capacity, (i + 1) * capacity),
  );
}
