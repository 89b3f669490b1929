// SPDX-License-Identifier: Apache-2.0
/** What a decoder reads: the tokens that should come out, one place later. */

/** What comes first: a token, or `last` for the sequence's own last one, as mBART has its languages. */
export type ShiftedIn = number | "last";

/**
 * The tokens of each sequence moved one place to the right, its last left out.
 *
 * @param ids (M) int32; those below 0, of which no loss is taken, become `pad`
 * @param starts (S+1) int32: sequence s is tokens [starts[s], starts[s+1])
 * @returns (M) int32
 */
export function shiftedRight(
  ids: Int32Array,
  starts: Int32Array,
  first: ShiftedIn,
  pad = 0,
): Int32Array {
  const shifted = new Int32Array(ids.length);
  for (let s = 0; s + 1 < starts.length; s++) {
    const [begin, end] = [starts[s] as number, starts[s + 1] as number];
    if (end === begin) continue;
    shifted.set(ids.subarray(begin, end - 1), begin + 1);
    shifted[begin] = first === "last" ? ids.subarray(begin, end).findLast((id) => id >= 0) ?? pad : first;
  }
  return shifted.map((id) => id < 0 ? pad : id);
}
