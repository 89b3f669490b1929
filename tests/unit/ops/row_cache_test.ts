// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { assertSame } from "../../compare.ts";
import { nextIntegerBelow, randomStream } from "../../../lib/core/rng.ts";
import { phantom } from "../../../lib/ops/counting/phantom.ts";
import { countedRowCache } from "../../../lib/ops/counting/row_cache.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { createRowCache, piecesOf, rowChunks, type SlotRun } from "../../../lib/ops/row_cache.ts";

/** Second chance as its definition says it, on lists. */
class ModelCache {
  slots: ({ row: number; recent: boolean } | null)[];
  hand = 0;
  constructor(readonly capacity: number) {
    this.slots = Array.from({ length: capacity }, () => null);
  }
  take(rows: readonly number[]): { slots: number[]; evicted: number[]; installed: number[] } {
    const held = rows.filter((row) => this.find(row) >= 0);
    held.forEach((row) => void ((this.slots[this.find(row)] as { recent: boolean }).recent = true));
    const pinned = new Set(held);
    const [evicted, installed]: [number[], number[]] = [[], []];
    for (const row of rows.filter((row) => !pinned.has(row))) {
      let slot = this.slots.indexOf(null);
      while (slot < 0) {
        const here = this.slots[this.hand] as { row: number; recent: boolean };
        if (!pinned.has(here.row) && !here.recent) {
          slot = this.hand;
          evicted.push(here.row);
        } else if (!pinned.has(here.row)) here.recent = false;
        this.hand = (this.hand + 1) % this.capacity;
      }
      this.slots[slot] = { row, recent: true };
      pinned.add(row);
      installed.push(row);
    }
    return { slots: rows.map((row) => this.find(row)), evicted, installed };
  }
  find(row: number): number {
    return this.slots.findIndex((slot) => slot?.row === row);
  }
}

const ROWS = 40;

/** Row by row, of runs that do not touch each other. */
function singly(runs: readonly SlotRun[]): { readonly row: number; readonly slot: number }[] {
  runs.slice(1).forEach(({ slot }, i) => assert.ok(slot > runs[i]!.slot + runs[i]!.rows.length));
  return runs.flatMap(({ slot, rows }) => [...rows].map((row, i) => ({ row, slot: slot + i })));
}

/** Distinct rows, increasing, a few of them often. */
function draw(random: ReturnType<typeof randomStream>, most: number): Int32Array {
  const count = nextIntegerBelow(random, most + 1);
  const range = nextIntegerBelow(random, 2) === 0 ? ROWS : 8;
  return Int32Array.from(new Set(Array.from({ length: count }, () => nextIntegerBelow(random, range))))
    .sort();
}

for (const capacity of [1, 2, 7, 39, 40, 64]) {
  Deno.test(`createRowCache() with ${capacity} slots follows second chance, and never gives a stale row`, () => {
    const random = randomStream(capacity, 3);
    const cache = createRowCache(referenceKernels(), capacity, ROWS);
    let model = new ModelCache(capacity);
    // What lies in the slots: row and generation, brought when the cache says so.
    const contents = new Map<number, string>();
    let [generation, asked] = [0, 0];
    for (let turn = 0; turn < 400; turn++) {
      if (turn % 37 === 36) {
        cache.nextGeneration();
        model = new ModelCache(capacity);
        generation++;
      }
      for (const rows of rowChunks(draw(random, 2 * Math.min(capacity, 30)), capacity)) {
        const turn = cache.take(rows);
        const { slots } = turn;
        const [evicted, installed] = [singly(turn.evicted), singly(turn.installed)];
        const expected = model.take([...rows]);
        assert.deepEqual([...slots], expected.slots);
        assert.deepEqual(evicted.map(({ row }) => row).toSorted(), expected.evicted.toSorted());
        assert.deepEqual(installed.map(({ row }) => row).toSorted(), expected.installed.toSorted());
        for (const { row, slot } of evicted) assert.equal(contents.get(slot), `${row} of ${generation}`);
        for (const { row, slot } of installed) contents.set(slot, `${row} of ${generation}`);
        rows.forEach((row, i) => assert.equal(contents.get(slots[i] as number), `${row} of ${generation}`));
        assert.equal(new Set(slots).size, rows.length);
        cache.touch(slots);
        asked += rows.length;
        assert.equal(cache.counts.hits + cache.counts.misses, asked);
      }
      const resident = singly(cache.touched());
      assert.deepEqual(resident.map(({ slot }) => slot), resident.map((_, slot) => slot));
      for (const { row, slot } of resident) assert.equal(contents.get(slot), `${row} of ${generation}`);
    }
    assert.ok(cache.counts.misses > 0 && cache.counts.hits > 0);
    assert.equal(cache.counts.evictions > 0, capacity < ROWS);
  });
}

Deno.test("rows get the slots again that they had, wherever they and others are by then, and lose no gradient", () => {
  for (const capacity of [1, 2, 7, 23]) {
    const random = randomStream(capacity, 9);
    const cache = createRowCache(referenceKernels(), capacity, ROWS);
    /** What lies in the slots, and rows with a gradient there. */
    const contents = new Map<number, number>();
    const dirty = new Set<number>();
    const earlier: { rows: Int32Array; slots: Int32Array }[] = [];
    for (let turn = 0; turn < 300; turn++) {
      const again = nextIntegerBelow(random, 2) === 0
        ? earlier[nextIntegerBelow(random, earlier.length + 1)]
        : undefined;
      const rows = again?.rows ?? draw(random, capacity).slice(0, capacity);
      const { slots, evicted, installed } = cache.take(rows, again?.slots);
      if (again) assertSame(slots, again.slots);
      for (const { row, slot } of singly(evicted)) {
        assert.equal(contents.get(slot), row);
        assert.ok(dirty.delete(row), "fetched once, and because there is a gradient");
      }
      for (const { row, slot } of singly(installed)) {
        assert.ok(!dirty.has(contents.get(slot) ?? -1) && !dirty.has(row), "what is there was fetched");
        contents.forEach((other, from) => other === row && contents.delete(from));
        contents.set(slot, row);
      }
      rows.forEach((row, i) => assert.equal(contents.get(slots[i] as number), row));
      earlier.push({ rows, slots });
      if (turn % 3 === 0) continue;
      cache.touch(slots);
      rows.forEach((row) => dirty.add(row));
      assertSame(singly(cache.touched()).map(({ row }) => row).toSorted(), [...dirty].toSorted());
    }
  }
  const forgotten = createRowCache(referenceKernels(), 2, 4);
  const { slots } = forgotten.take(Int32Array.of(1, 3));
  forgotten.nextGeneration();
  assert.throws(() => forgotten.take(Int32Array.of(1, 3), slots), RangeError);
});

Deno.test("a row that no gradient was added to since it was brought loses its slot without being fetched", () => {
  const cache = createRowCache(referenceKernels(), 3, ROWS);
  const { slots } = cache.take(Int32Array.of(1, 2, 3));
  cache.touch(slots.subarray(1, 2));
  assertSame(singly(cache.touched()), [{ row: 2, slot: 1 }]);
  assertSame(singly(cache.take(Int32Array.of(4, 5, 6)).evicted), [{ row: 2, slot: 1 }]);
  assertSame(singly(cache.touched()), []);
});

/** Rows a to b, as an array without memory. */
function stretch(first: number, count: number): Int32Array {
  return phantom("i32", first + count).subarray(first);
}

/** Slots and lengths. */
const lengths = (runs: readonly SlotRun[]) => runs.map(({ slot, rows }) => [slot, rows.length]);

for (const capacity of [1, 3, 7, 16, 40]) {
  Deno.test(`countedRowCache() with ${capacity} slots does what createRowCache() does, on stretches of rows`, () => {
    const random = randomStream(capacity, 5);
    const [real, counted] = [
      createRowCache(referenceKernels(), capacity, ROWS),
      countedRowCache(capacity),
    ];
    let earlier: { rows: Int32Array; first: number; at: readonly [Int32Array, Int32Array] }[] = [];
    for (let turn = 0; turn < 300; turn++) {
      if (turn % 41 === 40) {
        [real, counted].forEach((cache) => cache.nextGeneration());
        earlier = [];
      }
      const again = earlier[nextIntegerBelow(random, 3 * earlier.length + 1)];
      const count = again?.rows.length ?? nextIntegerBelow(random, Math.min(capacity, ROWS) + 1);
      const first = again?.first ?? nextIntegerBelow(random, ROWS - count + 1);
      const rows = Int32Array.from({ length: count }, (_, i) => first + i);
      const [a, b] = [real.take(rows, again?.at[0]), counted.take(stretch(first, count), again?.at[1])];
      earlier.push({ rows, first, at: [a.slots, b.slots] });
      assert.equal(b.slots.length, count);
      assert.deepEqual(lengths(b.evicted), lengths(a.evicted), `turn ${turn}: evicted`);
      assert.deepEqual(lengths(b.installed), lengths(a.installed), `turn ${turn}: installed`);
      if (nextIntegerBelow(random, 3) > 0) {
        real.touch(a.slots);
        counted.touch(b.slots);
      }
      assert.deepEqual(lengths(counted.touched()), lengths(real.touched()));
      assert.deepEqual(counted.counts, real.counts);
      assert.equal(counted.used, real.used);
    }
    assert.ok(real.counts.hits > 0 && real.counts.evictions > 0 === capacity < ROWS);
  });
}

Deno.test("piecesOf() cuts runs into pieces, each at its slot", () => {
  const runs = [{ slot: 2, rows: Int32Array.of(5, 6, 7, 8, 9) }, { slot: 9, rows: Int32Array.of(1) }];
  assertSame(piecesOf(runs, 2), [
    { slot: 2, rows: Int32Array.of(5, 6) },
    { slot: 4, rows: Int32Array.of(7, 8) },
    { slot: 6, rows: Int32Array.of(9) },
    { slot: 9, rows: Int32Array.of(1) },
  ]);
});

Deno.test("createRowCache() refuses no slots, and more rows than slots", () => {
  assert.throws(() => createRowCache(referenceKernels(), 0, 4), /has 0 slots/);
  assert.throws(
    () => createRowCache(referenceKernels(), 2, 4).take(Int32Array.of(0, 1, 2)),
    /3 rows do not fit 2 slots/,
  );
});

Deno.test("rowChunks() leaves no row out, whatever the capacity", () => {
  const rows = Int32Array.of(1, 4, 5, 8, 9);
  for (const capacity of [1, 2, 3, 5, 9]) {
    const chunks = rowChunks(rows, capacity);
    assert.deepEqual(chunks.flatMap((chunk) => [...chunk]), [...rows]);
    assert.ok(chunks.every(({ length }) => length >= 1 && length <= capacity));
  }
  assertSame(rowChunks(new Int32Array(0), 3), []);
});
