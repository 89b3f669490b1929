// SPDX-License-Identifier: Apache-2.0
/**
 * Random numbers as pure functions of (seed, stream, index): Philox4x32-10 (Salmon et al., "Parallel random numbers:
 * as easy as 1, 2, 3", SC 2011). Nothing is hidden state, so any part can be made again, in any order.
 *
 * Counter words: 0 and 1 hold the block index; 2 is a part of the stream, where there are parts; 3 is the domain, which
 * keeps the users of one seed apart.
 */

/** Counter word 3, by use. */
const DOMAIN = { normal: 0, permutation: 1, stream: 2, uniform: 3, dropout: 4 } as const;

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;

/** Four counter or result words. */
export type PhiloxBlock = readonly [number, number, number, number];

/** High 32 bits of the product of two 32-bit numbers, by 16-bit halves (every partial sum is below 2^53). */
function multiplyHigh(a: number, b: number): number {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const other = aLow * bHigh + (middle & 0xffff);
  return aHigh * bHigh + (middle >>> 16) + (other >>> 16);
}

/** Four random 32-bit words: a bijection of the counter, chosen by the key. */
export function philox4x32(key: readonly [number, number], counter: PhiloxBlock): PhiloxBlock {
  let [key0, key1] = key;
  let [x0, x1, x2, x3] = counter;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, x0);
    const high1 = multiplyHigh(MULTIPLIER_1, x2);
    const low0 = Math.imul(MULTIPLIER_0, x0) >>> 0;
    const low1 = Math.imul(MULTIPLIER_1, x2) >>> 0;
    [x0, x1, x2, x3] = [(high1 ^ x1 ^ key0) >>> 0, low1, (high0 ^ x3 ^ key1) >>> 0, low0];
    key0 = (key0 + WEYL_0) >>> 0;
    key1 = (key1 + WEYL_1) >>> 0;
  }
  return [x0, x1, x2, x3];
}

function block(seed: number, stream: number, index: number, domain: number, part = 0): PhiloxBlock {
  const counter: PhiloxBlock = [index >>> 0, Math.floor(index / 2 ** 32), part, domain];
  return philox4x32([seed >>> 0, stream >>> 0], counter);
}

/** The middle of the x-th of 2^32 equal parts of (0, 1): never 0 or 1. */
function toUniform(x: number): number {
  return (x + 0.5) * 2 ** -32;
}

/**
 * Fills `out` with N(0, std^2); element i is a pure function of (seed, stream, i), the same as `meft_random_normal`:
 * words x0..x3 of block i/4, u = (x + 0.5) / 2^32, and from (u0, u1), then (u2, u3):
 * r = sqrt(-2 ln u_a), outputs r cos(2 pi u_b), r sin(2 pi u_b). Computed in f64.
 *
 * @mutates out
 */
export function randomNormal(
  out: Float32Array | Float64Array,
  seed: number,
  stream: number,
  std: number,
): void {
  for (let i = 0; i < out.length; i += 4) {
    const words = block(seed, stream, i / 4, DOMAIN.normal).map(toUniform);
    for (let pair = 0; pair < 4; pair += 2) {
      const radius = std * Math.sqrt(-2 * Math.log(words[pair] as number));
      const angle = 2 * Math.PI * (words[pair + 1] as number);
      if (i + pair < out.length) out[i + pair] = radius * Math.cos(angle);
      if (i + pair + 1 < out.length) out[i + pair + 1] = radius * Math.sin(angle);
    }
  }
}

/**
 * Fills `out` with numbers uniform in (-bound, bound); element i is a pure function of (seed, stream, i):
 * word i mod 4 of block i/4.
 *
 * @mutates out
 */
export function randomUniform(
  out: Float32Array | Float64Array,
  seed: number,
  stream: number,
  bound: number,
): void {
  for (let i = 0; i < out.length; i += 4) {
    const words = block(seed, stream, i / 4, DOMAIN.uniform);
    for (let j = 0; j < 4 && i + j < out.length; j++) {
      out[i + j] = bound * (2 * toUniform(words[j] as number) - 1);
    }
  }
}

/** Which elements dropout takes away: a pure function of all this and the element's place. */
export interface DropoutMask {
  readonly seed: number;
  readonly stream: number;
  /** Tells masks of one stream apart. */
  readonly part: number;
  /** Place of element 0 within the mask, at least 0. */
  readonly first: number;
  /** Share of elements taken away, from 0 to below 1. */
  readonly probability: number;
}

/** A word below this takes its element away. */
export function dropoutThreshold(probability: number): number {
  return Math.min(2 ** 32 - 1, Math.round(probability * 2 ** 32));
}

/**
 * Inverted dropout: y = x / (1 - p) where an element stays, else 0; or that added to y. Element i stays when word
 * (first + i) mod 4 of block (first + i) / 4 is not below p 2^32. The same as `meft_dropout_apply`.
 *
 * @mutates y
 */
export function dropout(
  y: Float32Array | Float64Array,
  x: Float32Array | Float64Array,
  mask: DropoutMask,
  accumulate: boolean,
): void {
  const { seed, stream, part, first, probability } = mask;
  const threshold = dropoutThreshold(probability);
  const scale = 1 / (1 - probability);
  let words: PhiloxBlock = [0, 0, 0, 0];
  for (let i = 0; i < y.length; i++) {
    const place = first + i;
    if (i === 0 || place % 4 === 0) words = block(seed, stream, Math.floor(place / 4), DOMAIN.dropout, part);
    const kept = (words[place % 4] as number) >= threshold ? scale * (x[i] as number) : 0;
    y[i] = accumulate ? (y[i] as number) + kept : kept;
  }
}

/** A place in an endless sequence of random words. `position` is all there is to save. */
export interface RandomStream {
  readonly seed: number;
  readonly stream: number;
  /** Words taken so far. */
  position: number;
}

/** The start of stream number `stream` of a seed. */
export function randomStream(seed: number, stream: number): RandomStream {
  return { seed, stream, position: 0 };
}

/** The next 32-bit word. @mutates random */
export function nextWord(random: RandomStream): number {
  const index = random.position++;
  return block(random.seed, random.stream, Math.floor(index / 4), DOMAIN.stream)[index % 4] as number;
}

/** The next number in (0, 1), uniform over 2^32 values. @mutates random */
export function nextUniform(random: RandomStream): number {
  return toUniform(nextWord(random));
}

/**
 * The next whole number in [0, n), each equally likely: words of the incomplete last multiple of n are passed over.
 *
 * @mutates random
 * @throws {RangeError} When n is not a whole number from 1 to 2^32
 */
export function nextIntegerBelow(random: RandomStream, n: number): number {
  if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
    throw new RangeError(`n is ${n}, expected a whole number from 1 to 2^32`);
  }
  return unbiasedBelow(n, () => nextWord(random));
}

function unbiasedBelow(n: number, word: () => number): number {
  const limit = 2 ** 32 - (2 ** 32 % n);
  for (;;) {
    const x = word();
    if (x < limit) return x % n;
  }
}

/**
 * A permutation of 0..n-1, a pure function of (seed, epoch, n), by Fisher and Yates from the end.
 *
 * @returns (n) int32
 */
export function permutation(seed: number, epoch: number, n: number): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  let words: PhiloxBlock = [0, 0, 0, 0];
  let taken = 0;
  const word = (): number => {
    if (taken % 4 === 0) words = block(seed, epoch, taken / 4, DOMAIN.permutation);
    return words[taken++ % 4] as number;
  };
  for (let i = n - 1; i > 0; i--) {
    const j = unbiasedBelow(i + 1, word);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}

/**
 * An index drawn with probability in proportion to its weight.
 *
 * @param weights Not negative, with a positive finite sum; need not sum to 1
 * @param uniform In (0, 1), from {@linkcode nextUniform}
 * @throws {RangeError} When the weights have no positive finite sum
 */
export function categorical(weights: ArrayLike<number>, uniform: number): number {
  let total = 0;
  for (let i = 0; i < weights.length; i++) total += weights[i] as number;
  if (!(total > 0 && total < Infinity)) {
    throw new RangeError(`The weights of a draw sum to ${total}, expected a positive finite sum`);
  }
  const target = uniform * total;
  let below = 0;
  let last = 0;
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i] as number;
    if (weight > 0) last = i;
    below += weight;
    if (target < below) return i;
  }
  return last; // rounding left the target at the total
}
