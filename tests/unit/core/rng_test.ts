// SPDX-License-Identifier: Apache-2.0
/** Random numbers: published words, exact definitions, and that everything is a function of its key. */
import assert from "node:assert/strict";
import { assertSame } from "../../compare.ts";
import {
  categorical,
  dropout,
  dropoutThreshold,
  nextIntegerBelow,
  nextUniform,
  nextWord,
  permutation,
  philox4x32,
  randomNormal,
  randomStream,
  randomUniform,
} from "../../../lib/core/rng.ts";

Deno.test("philox4x32() gives the known answers of Random123", () => {
  const ones = 0xffffffff;
  assert.deepEqual(philox4x32([0, 0], [0, 0, 0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  assert.deepEqual(
    philox4x32([ones, ones], [ones, ones, ones, ones]),
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  );
  assert.deepEqual(
    philox4x32([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  );
});

Deno.test("randomNormal() is the Box-Muller transform of the words of block i/4", () => {
  const out = new Float64Array(11);
  randomNormal(out, 7, 9, 0.5);
  for (let i = 0; i < out.length; i++) {
    const u = philox4x32([7, 9], [Math.floor(i / 4), 0, 0, 0]).map((x) => (x + 0.5) / 2 ** 32);
    const first = i % 4 < 2 ? 0 : 2;
    const angle = 2 * Math.PI * (u[first + 1] as number);
    const turn = i % 2 === 0 ? Math.cos(angle) : Math.sin(angle);
    const expected = 0.5 * Math.sqrt(-2 * Math.log(u[first] as number)) * turn;
    assert.ok(Math.abs((out[i] as number) - expected) <= 4e-16 * Math.abs(expected), `element ${i}`);
  }
});

Deno.test("randomNormal() has the mean, spread and fourth moment of a normal law", () => {
  const n = 40_000;
  const out = new Float32Array(n);
  randomNormal(out, 1, 2, 1);
  const moment = (power: number) => out.reduce((sum, x) => sum + x ** power, 0) / n;
  // Five standard errors: the variances of x, x^2 and x^4 are 1, 2 and 96.
  assert.ok(Math.abs(moment(1)) < 5 / Math.sqrt(n));
  assert.ok(Math.abs(moment(2) - 1) < 5 * Math.sqrt(2 / n));
  assert.ok(Math.abs(moment(4) - 3) < 5 * Math.sqrt(96 / n));
});

Deno.test("randomNormal() of a shorter array is the beginning of that of a longer one", () => {
  const long = new Float64Array(13);
  randomNormal(long, 3, 4, 1);
  for (const length of [0, 1, 2, 3, 5]) {
    const short = new Float64Array(length);
    randomNormal(short, 3, 4, 1);
    assertSame(short, long.slice(0, length));
  }
});

Deno.test("nextWord() continues from a saved position", () => {
  const random = randomStream(5, 6);
  for (let i = 0; i < 6; i++) nextWord(random);
  const resumed = { ...random };
  assert.equal(resumed.position, 6);
  const uniforms = Array.from({ length: 5 }, () => nextUniform(random));
  assert.deepEqual(Array.from({ length: 5 }, () => nextUniform(resumed)), uniforms);
  assert.ok(uniforms.every((u) => u > 0 && u < 1));
});

Deno.test("nextIntegerBelow() reaches every value about equally often, and no other", () => {
  const random = randomStream(1, 1);
  const counts = [0, 0, 0, 0, 0, 0, 0];
  const draws = 14_000;
  for (let i = 0; i < draws; i++) {
    const x = nextIntegerBelow(random, 7);
    counts[x] = (counts[x] ?? NaN) + 1;
  }
  // Six standard deviations of a binomial count of 14000 draws at 1/7.
  for (const count of counts) assert.ok(Math.abs(count - draws / 7) <= 6 * Math.sqrt(draws * 6 / 49));
  assert.equal(nextIntegerBelow(random, 1), 0);
  assert.throws(() => nextIntegerBelow(random, 0), /n is 0, expected/);
});

Deno.test("permutation() holds every index once and depends on seed and epoch", () => {
  for (const n of [0, 1, 2, 257]) {
    assert.deepEqual([...permutation(3, 0, n)].sort((a, b) => a - b), Array.from({ length: n }, (_, i) => i));
  }
  assertSame(permutation(3, 1, 257), permutation(3, 1, 257));
  assert.notDeepEqual(permutation(3, 1, 257), permutation(3, 2, 257));
  assert.notDeepEqual(permutation(3, 1, 257), permutation(4, 1, 257));
});

Deno.test("permutation() of three items takes all six orders about equally often", () => {
  const counts = new Map<string, number>();
  for (let epoch = 0; epoch < 3000; epoch++) {
    const order = permutation(1, epoch, 3).join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  assert.equal(counts.size, 6);
  for (const count of counts.values()) assert.ok(Math.abs(count - 500) <= 6 * Math.sqrt(3000 * 5 / 36));
});

Deno.test("categorical() draws in proportion to the weights and never an impossible index", () => {
  assert.equal(categorical([0, 2, 0, 6], 0.01), 1);
  assert.equal(categorical([0, 2, 0, 6], 0.2499), 1);
  assert.equal(categorical([0, 2, 0, 6], 0.25), 3);
  assert.equal(categorical([0, 2, 6, 0], 1), 2);
  assert.throws(() => categorical([0, 0], 0.5), /sum to 0/);
  assert.throws(() => categorical([1, NaN], 0.5), /sum to NaN/);
});

Deno.test("randomUniform() spreads evenly over (-bound, bound), and is a function of its key alone", () => {
  const n = 40_000;
  const out = new Float64Array(n);
  randomUniform(out, 1, 2, 0.5);
  assert.ok(out.every((x) => x > -0.5 && x < 0.5));
  const counts = new Array(10).fill(0);
  for (const x of out) counts[Math.floor((x + 0.5) * 10)]++;
  // Five standard errors of a tenth of n draws.
  for (const count of counts) assert.ok(Math.abs(count - n / 10) < 5 * Math.sqrt(n * 0.09), `${counts}`);
  const short = new Float64Array(7);
  randomUniform(short, 1, 2, 0.5);
  assertSame(short, out.slice(0, 7));
  randomUniform(short, 1, 3, 0.5);
  assert.notDeepEqual(short, out.slice(0, 7));
});

Deno.test("dropout() keeps the right share, scaled, and any piece of a mask is the mask of that place", () => {
  const n = 40_000;
  const mask = { seed: 3, stream: 4, part: 5, first: 0, probability: 0.2 };
  const ones = new Float64Array(n).fill(1);
  const y = new Float64Array(n);
  dropout(y, ones, mask, false);
  assert.ok(y.every((x) => x === 0 || x === 1.25));
  const kept = y.filter((x) => x > 0).length;
  assert.ok(Math.abs(kept - 0.8 * n) < 5 * Math.sqrt(0.16 * n), `${kept} of ${n}`);
  for (const first of [1, 2, 3, 4, 1003]) {
    const piece = new Float64Array(9);
    dropout(piece, ones, { ...mask, first }, false);
    assertSame(piece, y.slice(first, first + 9));
  }
  for (const other of [{ seed: 4 }, { stream: 5 }, { part: 6 }]) {
    const apart = new Float64Array(n);
    dropout(apart, ones, { ...mask, ...other }, false);
    const both = apart.filter((x, i) => x > 0 && (y[i] as number) > 0).length;
    assert.ok(Math.abs(both - 0.64 * n) < 5 * Math.sqrt(0.64 * 0.36 * n), `${both} of ${n}`);
  }
  const sum = Float64Array.of(10, 10, 10, 10);
  dropout(sum, ones.subarray(0, 4), mask, true);
  assertSame(sum, y.slice(0, 4).map((x) => x + 10));
});

Deno.test("every use of a seed takes words of its own, by seed, stream, place and part, far beyond 2^32 too", () => {
  const word = (domain: number, place: number, part = 0, key: readonly [number, number] = [7, 9]) => {
    const block = Math.floor(place / 4);
    return philox4x32(key, [block >>> 0, Math.floor(block / 2 ** 32), part, domain])[place % 4] as number;
  };
  const uniform = (x: number) => (x + 0.5) * 2 ** -32;
  for (const place of [0, 5, 4 * 2 ** 32 + 3]) {
    assert.equal(nextWord({ seed: 7, stream: 9, position: place }), word(2, place));
    assert.equal(nextUniform({ seed: 7, stream: 9, position: place }), uniform(word(2, place)));
  }
  const uniforms = new Float64Array(7);
  randomUniform(uniforms, 7, 9, 0.25);
  assertSame(uniforms, Float64Array.from(uniforms, (_, i) => 0.25 * (2 * uniform(word(3, i)) - 1)));
  const ones = new Float64Array(5).fill(1);
  for (const first of [0, 2, 4 * 2 ** 32 + 1]) {
    const kept = new Float64Array(5);
    dropout(kept, ones, { seed: 7, stream: 9, part: 11, first, probability: 0.5 }, false);
    assertSame(kept, kept.map((_, i) => word(4, first + i, 11) >= 2 ** 31 ? 2 : 0));
  }
  // By Fisher and Yates from the end; words that would favour small numbers do not come up for small n.
  const order = Array.from({ length: 9 }, (_, i) => i);
  for (let i = 8, taken = 0; i > 0; i--) {
    const j = word(1, taken++) % (i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  assert.deepEqual([...permutation(7, 9, 9)], order);
});

Deno.test("nextIntegerBelow() takes 1 to 2^32 and passes over words of the incomplete last multiple", () => {
  assert.equal(nextIntegerBelow(randomStream(1, 1), 2 ** 32), nextWord(randomStream(1, 1)));
  for (const n of [0, 1.5, 2 ** 32 + 1, -3, NaN]) {
    assert.throws(() => nextIntegerBelow(randomStream(1, 1), n), { name: "RangeError" });
  }
  // Of n = 2^31 + 1 nearly half of all words are passed over.
  const n = 2 ** 31 + 1;
  const random = randomStream(3, 4);
  const words = Array.from({ length: 200 }, (_, i) => nextWord({ seed: 3, stream: 4, position: i }));
  const expected = words.filter((x) => x < n);
  assert.ok(expected.length < 130);
  assert.deepEqual(expected.map(() => nextIntegerBelow(random, n)), expected);
});

Deno.test("dropoutThreshold() is the share of all words, and never all of them", () => {
  assert.deepEqual([0, 0.25, 0.5].map(dropoutThreshold), [0, 2 ** 30, 2 ** 31]);
  assert.equal(dropoutThreshold(1 - 2 ** -40), 2 ** 32 - 1);
});
