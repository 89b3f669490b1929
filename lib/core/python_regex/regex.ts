// SPDX-License-Identifier: Apache-2.0
/**
 * Regular expressions of Python's `re` on short ASCII texts: what PEFT matches the names of modules with. Their syntax and
 * rules differ from JavaScript's in many small ways, and a pattern comes from a file that somebody else wrote: matching takes
 * bounded time for every pattern.
 */
import { type Budget, matchStart, type RegexMatch } from "./matcher.ts";
import { RegexError } from "./nodes.ts";
import { parseRegex } from "./parser.ts";

/** A pattern that can be matched. */
export interface Regex {
  /** Whether all of the text matches: `re.fullmatch`. */
  matchesAll(text: string): boolean;
  /** The match that begins at the start of the text, or null: `re.match`, with the text of one named group. */
  matchStart(text: string, group?: string): RegexMatch | null;
}

/** Longest pattern: names of all modules of a large model, one after the other. */
const MAX_LENGTH = 200_000;
/** Steps that one pattern takes at most, over all texts: a second or two. */
const MAX_STEPS = 1e7;

/**
 * Compiles a pattern.
 *
 * @throws {RegexError} When Python refuses the pattern, or it uses what is not supported here; matching throws one when it
 *   takes too long
 */
export function compileRegex(pattern: string): Regex {
  if (pattern.length > MAX_LENGTH) {
    throw new RegexError(`the pattern has ${pattern.length} characters, more than ${MAX_LENGTH}`);
  }
  const node = parseRegex(pattern);
  const budget: Budget = { left: MAX_STEPS };
  return {
    matchesAll: (text) => matchStart(node, ascii(text), { whole: true, watched: null, budget }) !== null,
    matchStart: (text, group) =>
      matchStart(node, ascii(text), { whole: false, watched: group ?? null, budget }),
  };
}

function ascii(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text;
  throw new RangeError(`${JSON.stringify(text)} is not ASCII: patterns are matched against names of modules`);
}
