// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { assertSame } from "../../../compare.ts";
import { nextIntegerBelow, randomStream } from "../../../../lib/core/rng.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { createRowCache, rowChunks } from "../../../../lib/adapters/sparse/row_cache.ts";

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
        const { slots, evicted, installed } = cache.take(rows);
        const expected = model.take([...rows]);
        assert.deepEqual([...slots], expected.slots);
        assert.deepEqual(evicted.map(({ row }) => row), expected.evicted);
        assert.deepEqual(installed.map(({ row }) => row).toSorted(), expected.installed.toSorted());
        for (const { row, slot } of evicted) assert.equal(contents.get(slot), `${row} of ${generation}`);
        for (const { row, slot } of installed) contents.set(slot, `${row} of ${generation}`);
        rows.forEach((row, i) => assert.equal(contents.get(slots[i] as number), `${row} of ${generation}`));
        assert.equal(new Set(slots).size, rows.length);
        asked += rows.length;
        assert.equal(cache.counts.hits + cache.counts.misses, asked);
      }
      const resident = cache.resident();
      assert.deepEqual(resident.map(({ slot }) => slot), resident.map((_, slot) => slot));
      for (const { row, slot } of resident) assert.equal(contents.get(slot), `${row} of ${generation}`);
    }
    assert.ok(cache.counts.misses > 0 && cache.counts.hits > 0);
    assert.equal(cache.counts.evictions > 0, capacity < ROWS);
  });
}

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
