// SPDX-License-Identifier: Apache-2.0
/** Sets of characters of a pattern: classes in brackets, `\d` and its like, and letters in either case. */
import { RegexError } from "./nodes.ts";

/** Whether a character, by its code, belongs. Texts are ASCII, where Python's two meanings of `\w` and the like agree. */
export type CharacterSet = (code: number) => boolean;

const isDigit: CharacterSet = (code) => code >= 48 && code <= 57;
const isLetter: CharacterSet = (code) => (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
const isSpace: CharacterSet = (code) =>
  code === 32 || (code >= 9 && code <= 13) || (code >= 28 && code <= 31);

/** What `\w` matches. */
export const isWord: CharacterSet = (code) => isDigit(code) || isLetter(code) || code === 95;

/** The set of `\d`, `\W` and the like; null for other letters. `ascii`: as with the flag `a`. */
export function categorySet(letter: string, ascii: boolean): CharacterSet | null {
  const spaces: CharacterSet = ascii ? (code) => isSpace(code) && !(code >= 28 && code <= 31) : isSpace;
  const sets: Readonly<Record<string, CharacterSet>> = { d: isDigit, s: spaces, w: isWord };
  const set = sets[letter.toLowerCase()];
  if (!set) return null;
  return letter === letter.toLowerCase() ? set : (code) => !set(code);
}

/** The members of a class in brackets, of which a code must be in one. */
export function unionSet(members: readonly CharacterSet[]): CharacterSet {
  return (code) => members.some((has) => has(code));
}

/** All from one code to another. */
export function rangeSet(from: number, to: number): CharacterSet {
  return (code) => code >= from && code <= to;
}

/** The set with letters in either case. */
export function eitherCase(set: CharacterSet): CharacterSet {
  return (code) => set(code) || (isLetter(code) && set(code ^ 32));
}

/**
 * Characters that Python folds to ASCII letters when case is ignored are told, not guessed.
 *
 * @throws {RegexError} When the code is not ASCII
 */
export function requireAscii(code: number, at: number): void {
  if (code < 128) return;
  throw new RegexError(`a character beyond ASCII beside the flag "i" is not supported`, at);
}
