// SPDX-License-Identifier: Apache-2.0
/**
 * What regular expressions of a `tokenizer.json` may cost. The library's engine (Oniguruma) goes back over a text, and ends the
 * process at ten million steps back within one match. So patterns are looked at before it gets them: those whose steps can grow
 * as a power of the text's length are refused, those that may look at the rest of a text from each of its places are given
 * short texts only.
 */

/** Characters of a text under patterns that go through it once, whatever it is: far fewer than the engine's steps. */
export const LONGEST_TEXT = 2_000_000;

/** Characters of a text under a pattern that may look at all of the rest from each place. */
const LONGEST_UNDER_DOUBT = 10_000;

/** Repetitions from which on a repeat counts as one without end. */
const MANY = 16;

/** How a part of a pattern matches. */
interface Cost {
  /** Characters that it matches; null when that varies, or when it has alternatives. */
  readonly width: number | null;
  /** Repeats without end that can give characters back; infinite for such repeats within each other. */
  readonly repeats: number;
  /** Bits that choose among the ways in which its other parts can match: optional ones, alternatives, short repeats. */
  readonly choices: number;
  /** The power of the text's length that its steps back can grow with. */
  readonly power: number;
  /** Whether a match needs it. */
  readonly isNeeded: boolean;
}

const EMPTY: Cost = { width: 0, repeats: 0, choices: 0, power: 0, isNeeded: false };
const CHARACTER: Cost = { width: 1, repeats: 0, choices: 0, power: 0, isNeeded: true };

/** Alternatives of published tokenizers that go back once, and after which others take what they left. */
const TAILS = ["", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"];
const KNOWN: ReadonlySet<string> = new Set([
  ...["\\s*[\\r\\n]+", "\\s*[\\r\\n]", "\\s+(?!\\S)", "\\s++$", "\\s+$"],
  ...TAILS.map((tail) =>
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" + tail
  ),
]);

/** Of choices that are gone back through one by one: more are as bad as repeats within each other. */
const MOST_CHOICES = 14;

/** Longest pattern. Published ones have a few hundred characters, those that list a language's letters some thousand. */
const LONGEST_PATTERN = 20_000;

/** Groups inside each other. */
const DEEPEST = 30;

/**
 * Characters that a text may have under a pattern.
 *
 * @returns Or what is wrong with the pattern, to stand after it
 */
export function longestTextUnder(pattern: string): number | string {
  if (pattern.length > LONGEST_PATTERN) {
    return `has ${pattern.length} characters, more than the ${LONGEST_PATTERN} that are supported`;
  }
  const cursor: Cursor = { pattern, at: 0, depth: 0, unknown: null, alternatives: [] };
  const { power } = choiceOf(cursor);
  if (cursor.at < pattern.length) cursor.unknown ??= "a parenthesis that nothing opens";
  if (cursor.unknown !== null) return `uses ${cursor.unknown}, which is not supported`;
  if (power > 1) {
    return "repeats what repeats itself, so that it may be matched without end: write it more simply";
  }
  return power === 1 && !isKnown(cursor.alternatives) ? LONGEST_UNDER_DOUBT : LONGEST_TEXT;
}

/** Whether all alternatives that go back are known, and what they leave is taken by another. */
function isKnown(alternatives: Cursor["alternatives"]): boolean {
  const doubtful = alternatives.filter(({ power }) => power > 0);
  const takesSpace = alternatives.some(({ text }) => text === "\\s+" || text === "\\s");
  return doubtful.every(({ text }) => KNOWN.has(text) && (takesSpace || !text.startsWith("\\s")));
}

/** Where reading stands. */
interface Cursor {
  readonly pattern: string;
  at: number;
  depth: number;
  /** The first thing that is not read here. */
  unknown: string | null;
  /** Of the whole pattern. */
  readonly alternatives: { readonly text: string; readonly power: number }[];
}

/** `a|b`, up to the end or a closing parenthesis. @mutates cursor */
function choiceOf(cursor: Cursor): Cost {
  const options: Cost[] = [];
  const isOuter = cursor.depth === 0;
  do {
    const start = cursor.at;
    const cost = sequenceOf(cursor);
    options.push(cost);
    if (isOuter) {
      cursor.alternatives.push({ text: cursor.pattern.slice(start, cursor.at), power: cost.power });
    }
  } while (cursor.pattern[cursor.at] === "|" && ++cursor.at > 0);
  const [only] = options;
  if (options.length === 1) return only as Cost;
  return {
    width: null,
    repeats: Math.max(...options.map(({ repeats }) => repeats)),
    choices: Math.log2(options.length) + Math.max(...options.map(({ choices }) => choices)),
    power: Math.max(...options.map(({ power }) => power)),
    isNeeded: options.every(({ isNeeded }) => isNeeded),
  };
}

/** @mutates cursor */
function sequenceOf(cursor: Cursor): Cost {
  let sum = EMPTY;
  while (cursor.at < cursor.pattern.length && !"|)".includes(cursor.pattern[cursor.at] as string)) {
    let item = itemOf(cursor);
    for (let bounds = boundsOf(cursor); bounds !== null; bounds = boundsOf(cursor)) {
      item = repeated(item, bounds);
    }
    const before = sum.choices > MOST_CHOICES ? Infinity : sum.repeats;
    sum = {
      width: sum.width === null || item.width === null ? null : sum.width + item.width,
      repeats: sum.repeats + item.repeats,
      choices: sum.choices + item.choices,
      // What fails here makes the repeats before it give back, one by one.
      power: Math.max(sum.power, item.power + (item.isNeeded ? before : 0)),
      isNeeded: sum.isNeeded || item.isNeeded,
    };
  }
  return sum;
}

interface Bounds {
  readonly min: number;
  readonly max: number;
  /** Whether it gives nothing back. */
  readonly isPossessive: boolean;
}

/** `*`, `{2,3}?` and the like, or null. @mutates cursor */
function boundsOf(cursor: Cursor): Bounds | null {
  const found = /^(?:([*+?])([?+]?)|\{(\d*)(,?)(\d*)\}(\??))/.exec(
    cursor.pattern.slice(cursor.at, cursor.at + 40),
  );
  if (found === null) return null;
  const [all, sign, mode, low = "", comma, high = ""] = found;
  if (sign === undefined && low === "" && high === "") return null; // a brace that is a character
  cursor.at += all.length;
  const isPossessive = mode === "+";
  if (sign !== undefined) {
    return { min: sign === "+" ? 1 : 0, max: sign === "?" ? 1 : Infinity, isPossessive };
  }
  const [min, top] = [Number(low), comma === "" ? Number(low) : high === "" ? Infinity : Number(high)];
  return { min: Math.min(min, top), max: Math.max(min, top), isPossessive };
}

function repeated(item: Cost, { min, max, isPossessive }: Bounds): Cost {
  const isLong = max > MANY;
  const each = item.width === null ? Infinity : 1;
  return {
    width: min === max && item.width !== null ? item.width * max : null,
    repeats: isPossessive ? 0 : isLong ? each : item.repeats * max,
    choices: isPossessive || isLong ? 0 : item.choices * max + Math.log2(max - min + 1),
    power: item.power,
    isNeeded: item.isNeeded && min > 0,
  };
}

/** A character, a class, a group or an assertion. @mutates cursor */
function itemOf(cursor: Cursor): Cost {
  const { pattern } = cursor;
  switch (pattern[cursor.at]) {
    case "(":
      return groupOf(cursor);
    case "[":
      cursor.at = classEnd(pattern, cursor.at);
      return CHARACTER;
    case "\\":
      return escapeOf(cursor);
    case "^":
    case "$":
      cursor.at++;
      return { ...CHARACTER, width: 0 };
    default:
      cursor.at += String.fromCodePoint(pattern.codePointAt(cursor.at) as number).length;
      return CHARACTER;
  }
}

/** @mutates cursor */
function escapeOf(cursor: Cursor): Cost {
  const rest = cursor.pattern.slice(cursor.at, cursor.at + 64);
  const [all = rest.slice(0, 2)] =
    /^\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|x[\da-fA-F]{1,2}|u[\da-fA-F]{4})/.exec(rest) ?? [];
  cursor.at += Math.max(all.length, 1);
  if (/^\\[1-9kgXRK]/.test(all)) cursor.unknown ??= all.slice(0, 2);
  return /^\\[bBAzZG]/.test(all) ? { ...CHARACTER, width: 0 } : CHARACTER;
}

/** The place behind a class, in which classes may stand. */
function classEnd(pattern: string, start: number): number {
  let depth = 0;
  for (let at = start; at < pattern.length; at++) {
    if (pattern[at] === "\\") at++;
    else if (pattern[at] === "[") {
      depth++;
      const [first = ""] = /^\[\^?\]?/.exec(pattern.slice(at, at + 3)) ?? []; // the first bracket is a character
      at += first.length - 1;
    } else if (pattern[at] === "]" && --depth === 0) return at + 1;
  }
  return pattern.length;
}

/** @mutates cursor */
function groupOf(cursor: Cursor): Cost {
  const rest = cursor.pattern.slice(cursor.at, cursor.at + 64);
  const [opening = "("] = /^\((?:\?(?:#|[a-z-]*:|[a-z-]+\)|<?[=!]|>|<\w+>))?/.exec(rest) ?? [];
  cursor.at += opening.length;
  if (opening === "(" && rest[1] === "?") cursor.unknown ??= rest.slice(0, 3);
  if (opening === "(?#") {
    const end = cursor.pattern.indexOf(")", cursor.at);
    cursor.at = end < 0 ? cursor.pattern.length : end + 1;
    return EMPTY;
  }
  if (/^\(\?[a-z]*x/.test(opening)) cursor.unknown ??= opening; // white space and comments would be none of it
  if (opening.endsWith(")")) return EMPTY;
  if (++cursor.depth > DEEPEST) {
    cursor.unknown ??= `groups more than ${DEEPEST} deep`;
    cursor.at = cursor.pattern.length;
    return EMPTY;
  }
  const inner = choiceOf(cursor);
  cursor.depth--;
  if (cursor.pattern[cursor.at] === ")") cursor.at++;
  if (/[=!]$/.test(opening)) return { ...CHARACTER, width: 0, power: aheadPower(inner) };
  return opening === "(?>" ? { ...inner, repeats: 0, choices: 0 } : inner;
}

/** What is looked at without being taken is looked at again from every place. */
function aheadPower({ power, repeats }: Cost): number {
  return Math.max(power, Math.min(repeats, 1));
}
