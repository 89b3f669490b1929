// SPDX-License-Identifier: Apache-2.0
/** White space as Python's `str.split` knows it; JavaScript's leaves out the separators of ASCII and adds U+FEFF. */

/** A run of it, anywhere. */
// deno-lint-ignore no-control-regex
export const PYTHON_SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;

/** The parts of a text between white space. */
export function splitWords(text: string): string[] {
  return text.split(PYTHON_SPACES).filter((word) => word !== "");
}
