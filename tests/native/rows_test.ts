// SPDX-License-Identifier: Apache-2.0
/** Rows gathered for products and gradients added back, on every target and on the device: exact. */
import assert from "node:assert/strict";
import * as calls from "../../lib/native/calls.ts";
import { NativeContext, type Target, TARGETS } from "../../lib/native/context.ts";
import { buildInfo, openLibrary } from "../../lib/native/library.ts";
import { MEFT_BF16, MEFT_F16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { assertSameBits } from "../compare.ts";
import { openTestDevice } from "../cuda_library.ts";

const { backend } = openTestDevice();
const targets = buildInfo(openLibrary()).machineTargets.filter((name): name is Target => name in TARGETS);
const PLACES: readonly (readonly [string, () => NativeContext])[] = [
  ...targets.map((target) => [target, () => new NativeContext({ target, threads: 2 })] as const),
  [backend, () => new NativeContext("cuda")],
];
const TOTAL = 11;
const ROWS = Int32Array.of(10, 0, 7, 3);

/** Numbers of which all bits matter. */
const numbers = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed + i) * 2 ** (i % 40 - 20));

/** A guard of one element beyond `count`. */
const guarded = (count: number): Float32Array => new Float32Array(count + 1).fill(-77);

for (const [name, open] of PLACES) {
  Deno.test(`rowsGather() on ${name} gives the rows bit for bit, joined or their high halves`, () => {
    using context = open();
    for (const hidden of [0, 1, 7, 16, 33, 257]) {
      const x = numbers(TOTAL * hidden, 1);
      const [hi, lo] = [new Uint16Array(x.length), new Int16Array(x.length)];
      calls.planesSplit(context, hi, lo, x, x.length);
      for (const rows of [ROWS, new Int32Array(0)]) {
        const count = rows.length * hidden;
        const joined = guarded(count), halves = new Uint16Array(count + 1).fill(7);
        calls.rowsGather(context, joined, hi, lo, rows, rows.length, TOTAL, hidden, MEFT_F32);
        calls.rowsGather(context, halves, hi, lo, rows, rows.length, TOTAL, hidden, MEFT_BF16);
        const of = (from: ArrayLike<number>): number[] =>
          [...rows].flatMap((row) => Array.from(from).slice(row * hidden, (row + 1) * hidden));
        assertSameBits("joined", joined, [...of(x), -77]);
        assertSameBits("halves", halves, [...of(hi), 7]);
      }
    }
  });

  Deno.test(`rowsAdd() on ${name} adds to places in use and writes new ones`, () => {
    using context = open();
    for (const hidden of [1, 7, 16, 33, 257]) {
      const from = numbers(ROWS.length * hidden, 2);
      const to = numbers(TOTAL * hidden, 3).fill(NaN, 7 * hidden); // what is new holds anything
      const expected = to.slice();
      ROWS.forEach((place, i) => {
        for (let c = 0; c < hidden; c++) {
          const [sum, added] = [place * hidden + c, from[i * hidden + c] as number];
          expected[sum] = place >= 7 ? added : (expected[sum] as number) + added;
        }
      });
      calls.rowsAdd(context, to, from, ROWS, ROWS.length, TOTAL, hidden, 7);
      assertSameBits("sums", to, expected);
    }
  });

  Deno.test(`rowsGather() and rowsAdd() on ${name} refuse rows that are not there`, () => {
    using context = open();
    const [hi, lo, out] = [new Uint16Array(6), new Int16Array(6), new Float32Array(6)];
    for (const row of [-1, 3]) {
      const rows = Int32Array.of(0, row);
      const text = new RegExp(`rows_(gather|add): (rows|places)\\[1\\] is ${row}, expected 0 to 2`);
      assert.throws(() => calls.rowsGather(context, out, hi, lo, rows, 2, 3, 2, MEFT_F32), text);
      assert.throws(() => calls.rowsAdd(context, out, out, rows, 2, 3, 2, 3), text);
    }
    const one = Int32Array.of(0);
    assert.throws(
      () => calls.rowsGather(context, out, hi, lo, one, 1, 3, 2, MEFT_F16),
      /dtype is 2, expected/,
    );
  });
}
