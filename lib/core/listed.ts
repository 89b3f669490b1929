// SPDX-License-Identifier: Apache-2.0
/** Words in a sentence. */

/** `a`, `a and b`, `a, b and c`. */
export function listed(words: readonly string[]): string {
  const [last, ...before] = [...words].reverse();
  return before.length === 0 ? last ?? "" : `${before.reverse().join(", ")} and ${last}`;
}
