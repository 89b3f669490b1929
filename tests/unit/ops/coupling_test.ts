// SPDX-License-Identifier: Apache-2.0
/** What couplings in fixed point mean, by hand, on the oracle; every backend is compared with it in tests/contract. */
import assert from "node:assert/strict";
import { nextWord, randomNormal, randomStream } from "../../../lib/core/rng.ts";
import {
  arenaDropped,
  arenaFixed,
  coupleInto,
  toFixedInto,
  toFloats,
  uncoupleInto,
} from "../../../lib/ops/coupling.ts";
import { droppedWords, MOST_SHIFT } from "../../../lib/ops/kernels/coupling.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import { assertSame, assertSameBits } from "../../compare.ts";

const k = referenceKernels();

function streamOf(values: readonly number[], fraction: number) {
  const s = arenaFixed(k, [1, values.length], fraction);
  s.data.set(values);
  return s;
}

function tensorOf(values: readonly number[]): Tensor {
  return { shape: [1, values.length], data: Float64Array.from(values) };
}

Deno.test("toFixedInto() rounds to the nearest even, and counts what does not fit", () => {
  const [s, account] = [arenaFixed(k, [1, 8], 1), new Float64Array(2)];
  toFixedInto(k, s, tensorOf([0.25, 0.75, -0.25, -0.75, 1.3, -1000, 2 ** -1060, 0]), account);
  assertSame(s.data, Int32Array.of(0, 2, 0, -2, 3, -2000, 0, 0));
  assertSame(account, Float64Array.of(0, 1000));
  toFixedInto(k, s, tensorOf([2 ** 30, -(2 ** 30), Infinity, 0, 2 ** 30 - 513, 1, 0, 0]), account);
  assertSame(s.data, Int32Array.of(0, 0, 0, 0, 2 ** 31 - 1026, 2, 0, 0));
  assertSame(account, Float64Array.of(3, Infinity));
  toFixedInto(k, s, tensorOf([NaN, 1, 2, 3, 4, 5, 6, 7]), account);
  assertSame(account, Float64Array.of(4, NaN));
});

Deno.test("coupleInto() shifts towards minus infinity and keeps what it drops", () => {
  const [x, f] = [streamOf([7, -7, 8, -1], 4), tensorOf([0.0625, 0.03125, 0.09375, -1])];
  const [y, account] = [arenaFixed(k, x.shape, 4), new Float64Array(2)];
  const dropped = arenaDropped(k, x, 2);
  const view = tensorOf([0, 0, 0, 0]);
  coupleInto(k, y, x, { f, shift: 2, dropped, view }, account);
  assertSame(y.data, Int32Array.of(1 + 1, -2 + 0, 2 + 2, -1 - 16));
  assertSame(view.data, Float64Array.of(0.125, -0.125, 0.25, -17 / 16));
  assertSame(dropped!.subarray(0, 5), Int32Array.of(3, 1, 0, 3, 0));
  assertSame(account, Float64Array.of(0, 17 / 16));
});

Deno.test("coupleInto() counts what leaves int32, and what was too much before it was added", () => {
  const [x, f] = [streamOf([-(2 ** 31), 2 ** 30, 5], 0), tensorOf([2 ** 31 + 100, 2 ** 30, NaN])];
  const [y, account] = [arenaFixed(k, x.shape, 0), new Float64Array(2)];
  coupleInto(k, y, x, { f, shift: 0, dropped: null }, account);
  assertSame(account, Float64Array.of(3, NaN));
  account.fill(0);
  coupleInto(k, y, x, { f: tensorOf([2 ** 31 + 100, 1, 1]), shift: 0, dropped: null }, account);
  assertSame(account, Float64Array.of(1, 2 ** 31 + 100));
});

Deno.test("uncoupleInto() gives back every bit of every int32, in place, whatever was added", () => {
  const count = 1100;
  const random = randomStream(7, 1);
  const extremes = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 2 ** 30, -(2 ** 30) - 1, 12345];
  const words = Array.from({ length: count }, (_, i) => extremes[i] ?? nextWord(random) | 0);
  const added = new Float64Array(count);
  randomNormal(added, 7, 2, 1e5);
  added.set([NaN, Infinity, -Infinity, 1e300, -3e9, 5e-324, 2 ** 19, -(2 ** -13)]);
  for (let shift = 0; shift <= MOST_SHIFT; shift++) {
    const mark = k.arena.mark();
    const [x, f, account] = [streamOf(words, 12), tensorOf([...added]), new Float64Array(2)];
    const dropped = arenaDropped(k, x, shift);
    assert.equal(dropped?.length ?? 0, droppedWords(count, shift));
    coupleInto(k, x, x, { f, shift, dropped }, account);
    if (shift > 0) assert.notDeepEqual([...x.data], words);
    uncoupleInto(k, x, x, { f, shift, dropped });
    assertSame(x.data, Int32Array.from(words), `shift ${shift}`);
    assertSameBits("toFloats()", toFloats(k, x).data, Float64Array.from(words, (word) => word / 4096));
    k.arena.release(mark);
  }
});

Deno.test("couplings refuse what cannot be", () => {
  assert.throws(
    () => arenaFixed(k, [1, 2], 31),
    /^RangeError: fraction of a stream is 31, expected .*0 to 30/,
  );
  const [x, f, account] = [streamOf([1, 2], 4), tensorOf([0, 0]), new Float64Array(2)];
  const couple = (shift: number, dropped: Int32Array | null, y = arenaFixed(k, x.shape, 4)) => () =>
    coupleInto(k, y, x, { f, shift, dropped }, account);
  assert.throws(couple(16, null), /^RangeError: shift of a coupling is 16, expected .*0 to 15/);
  assert.throws(couple(3, null), /^RangeError: dropped bits of a coupling have 0 words, expected 48/);
  assert.throws(couple(0, new Int32Array(16)), /have 16 words, expected 0/);
  assert.throws(
    couple(0, null, arenaFixed(k, [2, 1], 4)),
    /^RangeError: result of a coupling has shape \(2,1\)/,
  );
  assert.throws(couple(0, null, arenaFixed(k, [1, 2], 5)), /^RangeError: Streams of 4 and 5 fractional bits/);
});
