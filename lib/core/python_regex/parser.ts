// SPDX-License-Identifier: Apache-2.0
/**
 * Parses regular expressions of Python's `re` for texts (3.11 and later), by the rules of its own parser: what Python refuses
 * is refused. Back references, conditionals and `\N{...}`, which no name of a module needs, are refused by name.
 */
import { eitherCase, requireAscii } from "./character_sets.ts";
import { classSet, escapeOf } from "./escapes.ts";
import { type Anchor, RegexError, type RegexNode, widthOf } from "./nodes.ts";

/** Flags that matter to texts. */
interface RegexFlags {
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
  readonly dotAll: boolean;
  readonly verbose: boolean;
  readonly ascii: boolean;
}

const NO_FLAGS: RegexFlags = {
  ignoreCase: false,
  multiline: false,
  dotAll: false,
  verbose: false,
  ascii: false,
};
const FLAG_NAMES: Readonly<Record<string, keyof RegexFlags | null>> = {
  a: "ascii",
  i: "ignoreCase",
  m: "multiline",
  s: "dotAll",
  u: null,
  x: "verbose",
};

/** Groups inside each other at most. */
const MAX_DEPTH = 100;
/** Repetitions that Python has no number for. */
const TOO_MANY = 2 ** 32 - 1;
const NEWLINE = 10;

/** Where the parser stands. */
interface Cursor {
  readonly pattern: string;
  at: number;
  /** Of groups. */
  readonly names: Set<string>;
  nextId: number;
  depth: number;
}

/**
 * The tree of a pattern.
 *
 * @throws {RegexError} When Python refuses the pattern, or it uses what is not supported here
 */
export function parseRegex(pattern: string): RegexNode {
  const cursor: Cursor = { pattern, at: 0, names: new Set(), nextId: 0, depth: 0 };
  const node = parseChoice(cursor, readGlobalFlags(cursor));
  if (cursor.at < pattern.length) throw new RegexError("unbalanced parenthesis", cursor.at);
  return node;
}

/** `(?i)` and the like, which may only stand first. @mutates cursor */
function readGlobalFlags(cursor: Cursor): RegexFlags {
  let flags = NO_FLAGS;
  for (;;) {
    skipIgnored(cursor, flags);
    const match = /^\(\?(?:([aiLmsux]+)|#[^)]*)\)/.exec(cursor.pattern.slice(cursor.at));
    if (!match) return flags;
    flags = addFlags(flags, match[1] ?? "", "", cursor.at);
    cursor.at += match[0].length;
  }
}

function addFlags(flags: RegexFlags, on: string, off: string, at: number): RegexFlags {
  if (on.includes("L")) throw new RegexError("bad inline flags: cannot use 'L' flag with a str pattern", at);
  if (on.includes("a") && on.includes("u")) {
    throw new RegexError("bad inline flags: flags 'a', 'u' and 'L' are incompatible", at);
  }
  if (/[auL]/.test(off)) {
    throw new RegexError("bad inline flags: cannot turn off flags 'a', 'u' and 'L'", at);
  }
  if ([...off].some((flag) => on.includes(flag))) {
    throw new RegexError("bad inline flags: flag turned on and off", at);
  }
  const changed: Record<string, boolean> = { ...flags };
  if (on.includes("u")) changed["ascii"] = false;
  for (const flag of on) if (FLAG_NAMES[flag]) changed[FLAG_NAMES[flag]] = true;
  for (const flag of off) if (FLAG_NAMES[flag]) changed[FLAG_NAMES[flag]] = false;
  return changed as unknown as RegexFlags;
}

/** White space and comments of verbose patterns. @mutates cursor */
function skipIgnored(cursor: Cursor, { verbose }: RegexFlags): void {
  if (!verbose) return;
  const ignored = /^(?:[ \t\n\r\v\f]|#[^\n]*(?:\n|$))+/.exec(cursor.pattern.slice(cursor.at));
  if (ignored) cursor.at += ignored[0].length;
}

/** `a|b`, up to the end or a closing parenthesis. @mutates cursor */
function parseChoice(cursor: Cursor, flags: RegexFlags): RegexNode {
  if (++cursor.depth > MAX_DEPTH) {
    throw new RegexError(`more than ${MAX_DEPTH} groups inside each other are not supported`, cursor.at);
  }
  const options = [parseSequence(cursor, flags)];
  while (cursor.pattern[cursor.at] === "|") {
    cursor.at++;
    options.push(parseSequence(cursor, flags));
  }
  cursor.depth--;
  return options.length === 1 ? options[0] as RegexNode : { kind: "choice", id: cursor.nextId++, options };
}

/** @mutates cursor */
function parseSequence(cursor: Cursor, flags: RegexFlags): RegexNode {
  const items: RegexNode[] = [];
  for (;;) {
    skipIgnored(cursor, flags);
    const character = cursor.pattern[cursor.at];
    if (character === undefined || character === "|" || character === ")") break;
    if ("*+?{".includes(character)) {
      const bounds = readBounds(cursor);
      if (bounds !== null) {
        items.push(repeated(cursor, items.pop(), bounds));
        continue;
      }
    }
    const item = parseItem(cursor, flags);
    if (item !== null) items.push(item);
  }
  const joined = joinTexts(items);
  return joined.length === 1
    ? joined[0] as RegexNode
    : { kind: "sequence", id: cursor.nextId++, items: joined };
}

/** Characters side by side are compared at once. */
function joinTexts(items: readonly RegexNode[]): RegexNode[] {
  const joined: RegexNode[] = [];
  for (const item of items) {
    const last = joined.at(-1);
    if (item.kind === "text" && last?.kind === "text") {
      joined[joined.length - 1] = { ...last, text: last.text + item.text };
    } else joined.push(item);
  }
  return joined;
}

interface Bounds {
  readonly at: number;
  readonly min: number;
  readonly max: number;
  readonly mode: "greedy" | "lazy" | "possessive";
}

/** `*`, `{2,3}?` and the like; null for a brace that is only a character. @mutates cursor */
function readBounds(cursor: Cursor): Bounds | null {
  const { at, pattern } = cursor;
  const match = /^(?:([*+?])|\{(?!\})(\d*)(?:(,)(\d*))?\})([?+]?)/.exec(pattern.slice(at));
  if (!match) return null;
  const [whole, sign, low, comma, high, mode] = match;
  const min = sign ? (sign === "+" ? 1 : 0) : Number(low || 0);
  const most = comma ? high : low;
  const max = sign ? (sign === "?" ? 1 : Infinity) : most ? Number(most) : Infinity;
  if (min >= TOO_MANY || (max !== Infinity && max >= TOO_MANY)) {
    throw new RegexError("the repetition number is too large", at);
  }
  if (max < min) throw new RegexError("min repeat greater than max repeat", at);
  cursor.at += whole.length;
  return { at, min, max, mode: mode === "?" ? "lazy" : mode === "+" ? "possessive" : "greedy" };
}

function repeated(cursor: Cursor, item: RegexNode | undefined, { at, ...bounds }: Bounds): RegexNode {
  if (!item || item.kind === "anchor") throw new RegexError("nothing to repeat", at);
  if (item.kind === "repeat") throw new RegexError("multiple repeat", at);
  return { kind: "repeat", id: cursor.nextId++, item, ...bounds };
}

/** One character, class, anchor or group; null for a comment. @mutates cursor */
function parseItem(cursor: Cursor, flags: RegexFlags): RegexNode | null {
  const { at, pattern } = cursor;
  const id = cursor.nextId++;
  const anchor = (anchor: Anchor): RegexNode => ({ kind: "anchor", id, anchor });
  switch (pattern[at]) {
    case "(":
      return parseGroup(cursor, flags);
    case "[": {
      const { has, length } = classSet(pattern, at, flags);
      cursor.at += length;
      return { kind: "set", id, has };
    }
    case "\\": {
      const escape = escapeOf(pattern, at, flags.ascii);
      cursor.at += escape.length;
      if (escape.kind === "anchor") return anchor(escape.anchor);
      return escape.kind === "set"
        ? { kind: "set", id, has: escape.has }
        : literal(id, escape.code, at, flags);
    }
  }
  const code = pattern.codePointAt(at) as number;
  cursor.at += String.fromCodePoint(code).length;
  switch (pattern[at]) {
    case ".":
      return { kind: "set", id, has: flags.dotAll ? () => true : (code) => code !== NEWLINE };
    case "^":
      return anchor(flags.multiline ? "lineStart" : "start");
    case "$":
      return anchor(flags.multiline ? "lineEnd" : "lastLineEnd");
    default:
      return literal(id, code, at, flags);
  }
}

function literal(id: number, code: number, at: number, { ignoreCase }: RegexFlags): RegexNode {
  if (!ignoreCase) return { kind: "text", id, text: String.fromCodePoint(code) };
  requireAscii(code, at);
  return { kind: "set", id, has: eitherCase((other) => other === code) };
}

/** From the opening parenthesis to the closing one. @mutates cursor */
function parseGroup(cursor: Cursor, flags: RegexFlags): RegexNode | null {
  const { at } = cursor;
  const id = cursor.nextId++;
  const opening = OPENING.exec(cursor.pattern.slice(at)) as RegExpExecArray;
  const { sign, name, on, off, stop } = opening.groups as Readonly<Record<string, string | undefined>>;
  if (sign === "#") return skipComment(cursor);
  refuseOpening(cursor, opening[0], stop);
  if (name !== undefined) declareName(cursor, name);
  cursor.at += opening[0].length;
  const inner = on !== undefined || off !== undefined ? addFlags(flags, on ?? "", off ?? "", at) : flags;
  const item = parseChoice(cursor, inner);
  if (cursor.pattern[cursor.at] !== ")") throw new RegexError("missing ), unterminated subpattern", at);
  cursor.at++;
  switch (sign) {
    case "=":
    case "!":
      return { kind: "look", id, item, negative: sign === "!", behind: null };
    case "<=":
    case "<!": {
      const [min, max] = widthOf(item);
      if (min !== max) throw new RegexError("look-behind requires fixed-width pattern", at);
      return { kind: "look", id, item, negative: sign === "<!", behind: min };
    }
    case ">":
      return { kind: "atomic", id, item };
    default:
      return { kind: "group", id, item, name: name ?? null };
  }
}

/** What may follow an opening parenthesis; `stop` is what ends a group that is no group of ours. */
const OPENING =
  /^\((?:\?(?:(?<sign>[:#=!>]|<[=!])|P<(?<name>[^>)]*)>|(?<on>[aiLmsux]*)(?:-(?<off>[aiLmsux]*))?:|(?<stop>P=|\(|P?<|[aiLmsux]+\)|)))?/;

/** @throws {RegexError} For an opening that begins no group here, saying whose fault it is */
function refuseOpening({ at }: Cursor, opening: string, stop: string | undefined): void {
  if (stop === undefined) return;
  if (stop === "P=") throw new RegexError("a back reference (?P=...) is not supported", at);
  if (stop === "(") throw new RegexError("a conditional (?(...)...) is not supported", at);
  if (stop.endsWith(")")) throw new RegexError("global flags not at the start of the expression", at);
  throw new RegexError(`unknown extension ${opening}`, at);
}

/** @mutates cursor */
function declareName(cursor: Cursor, name: string): void {
  if (!/^[\p{L}_][\p{L}\p{N}_]*$/u.test(name)) {
    throw new RegexError(`bad character in group name ${JSON.stringify(name)}`, cursor.at + 4);
  }
  if (cursor.names.has(name)) {
    throw new RegexError(`redefinition of group name ${JSON.stringify(name)}`, cursor.at + 4);
  }
  cursor.names.add(name);
}

/** @mutates cursor */
function skipComment(cursor: Cursor): null {
  const end = cursor.pattern.indexOf(")", cursor.at);
  if (end < 0) throw new RegexError("missing ), unterminated comment", cursor.at);
  cursor.at = end + 1;
  return null;
}
