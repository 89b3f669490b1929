// SPDX-License-Identifier: Apache-2.0
/** Fixed-point streams of the reference backend: the same integers as everywhere, floats in f64. */
import type { Floats } from "../../tensor/tensor.ts";
import type { CouplingKernels } from "../kernels/coupling.ts";
import { at } from "./linear.ts";

/** Magnitudes from here on do not fit: less than 2^31 by more than f32 rounds a sum of that size by. */
const LIMIT = 2 ** 31 - 2 ** 10;

/** See `meft_coupling_*`. */
export const couplingKernels: CouplingKernels = {
  fixedFromFloats(s, x, fraction, account) {
    const unit = 2 ** -fraction;
    for (let i = 0; i < s.length; i++) {
      s[i] = rounded(at(x, i), unit);
      note(account, Math.abs(at(x, i)), unit);
    }
  },

  floatsFromFixed(x, s, fraction) {
    s.forEach((value, i) => x[i] = value * 2 ** -fraction);
  },

  couple(y, dropped, view, x, f, { fraction, shift }, account) {
    const unit = 2 ** -fraction;
    dropped?.fill(0);
    for (let i = 0; i < y.length; i++) {
      const [whole, added] = [x[i] as number, at(f, i)];
      const kept = whole >> shift;
      if (dropped) putBits(dropped, i, shift, whole & (2 ** shift - 1));
      y[i] = kept + rounded(added, unit);
      // The sum as it would be without a limit: what was added can be too much on its own.
      const sum = Math.abs(kept * unit + added);
      note(account, Math.abs(added) > sum ? Math.abs(added) : sum, unit);
      if (view) view[i] = (y[i] as number) * unit;
    }
  },

  uncouple(x, y, dropped, f, { fraction, shift }) {
    const unit = 2 ** -fraction;
    for (let i = 0; i < x.length; i++) {
      const kept = (y[i] as number) - rounded(at(f, i), unit);
      x[i] = kept << shift | (dropped ? bitsOf(dropped, i, shift) : 0);
    }
  },
};

/** value / unit to the nearest whole number, ties to even; 0 where that is no int32. */
function rounded(value: number, unit: number): number {
  const exact = value / unit;
  if (!(Math.abs(exact) < 2 ** 31)) return 0;
  const up = Math.round(exact);
  return up - exact === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

/** Enters a magnitude. @mutates account */
function note(account: Floats, magnitude: number, unit: number): void {
  if (!(magnitude < LIMIT * unit)) account[0] = Math.min(at(account, 0) + 1, 2 ** 24);
  if (magnitude > at(account, 1) || Number.isNaN(magnitude)) account[1] = magnitude;
}

/** Where the bits of element i begin: the word, and the bit in it; those that have no room there are 16 words on. */
function placeOf(i: number, shift: number): { readonly word: number; readonly bit: number } {
  const [group, row, lane] = [Math.floor(i / 512), Math.floor(i % 512 / 16), i % 16];
  return { word: 16 * (shift * group + (row * shift >> 5)) + lane, bit: row * shift & 31 };
}

/** @mutates words */
function putBits(words: Int32Array, i: number, shift: number, bits: number): void {
  const { word, bit } = placeOf(i, shift);
  words[word] = (words[word] as number) | bits << bit;
  if (bit + shift > 32) words[word + 16] = (words[word + 16] as number) | bits >>> 32 - bit;
}

function bitsOf(words: Int32Array, i: number, shift: number): number {
  const { word, bit } = placeOf(i, shift);
  const low = (words[word] as number) >>> bit;
  const high = bit + shift > 32 ? (words[word + 16] as number) << 32 - bit : 0;
  return (low | high) & 2 ** shift - 1;
}
