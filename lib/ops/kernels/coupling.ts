// SPDX-License-Identifier: Apache-2.0
/**
 * What exact couplings ask of a device: residual streams in int32 fixed point, which backward rebuilds bit for bit.
 * `csrc/include/meft.h` gives the formulas.
 */
import type { Floats } from "../../tensor/tensor.ts";

/** Elements whose dropped bits lie together: 32 rows of 16 lanes, of which each has a whole number of words. */
const GROUP_ELEMENTS = 512;
const GROUP_LANES = 16;

/** Most bits that a coupling may drop of an element. */
export const MOST_SHIFT = 15;

/** Most fractional bits of a stream. */
export const MOST_FRACTION = 30;

/**
 * int32 words of the bits that a coupling of `count` elements drops, `shift` of each: whole groups of 512 elements.
 *
 * Nothing narrower would do: what is dropped is the noise of the lowest digits. Measured on rows of real text
 * (`scripts/study/reversible/dropped_bits.ts`): MiniLM's 3 bits, of streams with 16 fractional ones, have an entropy of 3.000 bits,
 * given the bits above them 3.000; SmolLM2-135M's 7, of 12, have 6.975 and 6.898 (6.097 in the calmest of 30 layers). Blocks as
 * wide as their largest value take 3.008 and 7.008.
 */
export function droppedWords(count: number, shift: number): number {
  return GROUP_LANES * shift * Math.ceil(count / GROUP_ELEMENTS);
}

/** One coupling: y = x * 2^-shift + f, in units of 2^-fraction. */
export interface CouplingCall {
  /** Fractional bits of the streams, 0 to 30. */
  readonly fraction: number;
  /** The coefficient of x is 2^-shift, 0 to 15. */
  readonly shift: number;
}

/**
 * See `meft_coupling_*`. `account` is (2): the elements counted so far that do not fit a stream, up to 2^24, and the largest
 * magnitude of all that were put in one, fitting or not; NaN once there was one. Both only grow: zero it to begin.
 */
export interface CouplingKernels {
  /** s = round(x * 2^fraction), to nearest even. */
  fixedFromFloats(s: Int32Array, x: Floats, fraction: number, account: Floats): void;
  /** x = s * 2^-fraction, rounded once. */
  floatsFromFixed(x: Floats, s: Int32Array, fraction: number): void;
  /**
   * y = (x >> shift) + round(f * 2^fraction). dropped (`droppedWords`), written: the lowest `shift` bits of each x, null when
   * shift is 0. view, or null, written: y * 2^-fraction. y may be x, view may be f.
   */
  couple(
    y: Int32Array,
    dropped: Int32Array | null,
    view: Floats | null,
    x: Int32Array,
    f: Floats,
    call: CouplingCall,
    account: Floats,
  ): void;
  /** The x of couple(), bit for bit, from y, f and what was dropped. x may be y. */
  uncouple(x: Int32Array, y: Int32Array, dropped: Int32Array | null, f: Floats, call: CouplingCall): void;
}
