// SPDX-License-Identifier: Apache-2.0
/** Backslashes of a pattern, outside and inside of classes in brackets, and those classes. */
import {
  categorySet,
  type CharacterSet,
  eitherCase,
  rangeSet,
  requireAscii,
  unionSet,
} from "./character_sets.ts";
import { type Anchor, RegexError } from "./nodes.ts";

/** What a backslash and the characters after it stand for; `length` is of all of them. */
export type Escape =
  & { readonly length: number }
  & (
    | { readonly kind: "character"; readonly code: number }
    | { readonly kind: "set"; readonly has: CharacterSet }
    | { readonly kind: "anchor"; readonly anchor: Anchor }
  );

const CONTROLS: Readonly<Record<string, number>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };
const ANCHORS: Readonly<Record<string, Anchor>> = {
  A: "start",
  b: "boundary",
  B: "inside",
  Z: "end",
  z: "end", // Python 3.14
};
const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };
const BACKSPACE = 8;

/**
 * The escape that begins at a backslash outside of classes.
 *
 * @throws {RegexError} When it means nothing, or a back reference
 */
export function escapeOf(pattern: string, at: number, ascii: boolean): Escape {
  const letter = pattern[at + 1] ?? "";
  const anchor = ANCHORS[letter];
  if (anchor) return { kind: "anchor", anchor, length: 2 };
  if (/[1-9]/.test(letter)) {
    const octal = /^[0-3][0-7]{2}/.exec(pattern.slice(at + 1));
    if (octal) return { kind: "character", code: parseInt(octal[0], 8), length: 4 };
    throw new RegexError(`a back reference \\${letter} is not supported`, at);
  }
  return commonEscape(pattern, at, ascii);
}

function classEscape(pattern: string, at: number, ascii: boolean): Escape {
  const letter = pattern[at + 1] ?? "";
  if (letter === "b") return { kind: "character", code: BACKSPACE, length: 2 };
  const octal = /^[1-7][0-7]{0,2}/.exec(pattern.slice(at + 1));
  if (!octal) return commonEscape(pattern, at, ascii);
  const code = parseInt(octal[0], 8);
  if (code > 0o377) {
    throw new RegexError(`octal escape value \\${octal[0]} outside of range 0-0o377`, at);
  }
  return { kind: "character", code, length: 1 + octal[0].length };
}

/** What means the same in both places. */
function commonEscape(pattern: string, at: number, ascii: boolean): Escape {
  const letter = pattern[at + 1];
  if (letter === undefined) throw new RegexError("bad escape (end of pattern)", at);
  const set = categorySet(letter, ascii);
  if (set) return { kind: "set", has: set, length: 2 };
  if (letter === "0") {
    const [octal] = /^[0-7]{1,3}/.exec(pattern.slice(at + 1)) as RegExpExecArray;
    return { kind: "character", code: parseInt(octal, 8), length: 1 + octal.length };
  }
  const digits = HEX_DIGITS[letter];
  if (digits !== undefined) {
    const hex = pattern.slice(at + 2, at + 2 + digits);
    const code = /^[0-9a-fA-F]+$/.test(hex) && hex.length === digits ? parseInt(hex, 16) : Infinity;
    if (code > 0x10ffff) throw new RegexError(`incomplete or bad escape \\${letter}${hex}`, at);
    return { kind: "character", code, length: 2 + digits };
  }
  const control = CONTROLS[letter];
  if (control !== undefined) return { kind: "character", code: control, length: 2 };
  if (letter === "N") throw new RegexError("a character by name \\N{...} is not supported", at);
  if (/[A-Za-z0-9]/.test(letter)) throw new RegexError(`bad escape \\${letter}`, at);
  const code = pattern.codePointAt(at + 1) as number;
  return { kind: "character", code, length: 1 + String.fromCodePoint(code).length };
}

/** One end of a range, or a set by itself. */
type Member = Exclude<Escape, { readonly kind: "anchor" }>;

/**
 * The class whose bracket opens here, with the length of its text.
 *
 * @throws {RegexError} When it does not end, or a range is none
 */
export function classSet(
  pattern: string,
  at: number,
  { ignoreCase, ascii }: { readonly ignoreCase: boolean; readonly ascii: boolean },
): { readonly has: CharacterSet; readonly length: number } {
  const negated = pattern[at + 1] === "^";
  const first = at + (negated ? 2 : 1);
  const members: CharacterSet[] = [];
  let here = first;
  const next = (): Member => {
    const member = memberAt(pattern, here, at, ascii);
    here += member.length;
    return member;
  };
  while (here === first || pattern[here] !== "]") {
    const start = here;
    const from = next();
    if (pattern[here] !== "-" || pattern[here + 1] === "]") {
      members.push(memberSet(from, start, ignoreCase));
      continue;
    }
    here++;
    const to = next();
    if (from.kind !== "character" || to.kind !== "character" || to.code < from.code) {
      throw new RegexError(`bad character range ${pattern.slice(start, here)}`, start);
    }
    if (ignoreCase) requireAscii(to.code, start);
    members.push(rangeSet(from.code, to.code));
  }
  const has = ignoreCase ? eitherCase(unionSet(members)) : unionSet(members);
  return { has: negated ? (code) => !has(code) : has, length: here + 1 - at };
}

function memberAt(pattern: string, here: number, opening: number, ascii: boolean): Member {
  const code = pattern.codePointAt(here);
  if (code === undefined) throw new RegexError("unterminated character set", opening);
  if (pattern[here] !== "\\") {
    return { kind: "character", code, length: String.fromCodePoint(code).length };
  }
  const escape = classEscape(pattern, here, ascii);
  if (escape.kind === "anchor") throw new RegexError(`bad escape ${pattern.slice(here, here + 2)}`, here);
  return escape;
}

function memberSet(member: Member, at: number, ignoreCase: boolean): CharacterSet {
  if (member.kind === "set") return member.has;
  if (ignoreCase) requireAscii(member.code, at);
  return rangeSet(member.code, member.code);
}
