// SPDX-License-Identifier: Apache-2.0
/**
 * Case and classes of characters as Python's str has them. JavaScript gives most by its own tables; what it lacks (title
 * case, case folding, digits that are not decimal) is written out here.
 */

import { SPACES } from "./text.ts";

/** Title case of characters whose title case is neither their upper case nor follows a rule below. */
const TITLE: ReadonlyMap<string, string> = new Map(
  ("\u1fb2=\u1fba\u0345 \u1fb3=\u1fbc \u1fb4=\u0386\u0345 \u1fb7=\u0391\u0342\u0345 \u1fbc=\u1fbc " +
    "\u1fc2=\u1fca\u0345 \u1fc3=\u1fcc \u1fc4=\u0389\u0345 \u1fc7=\u0397\u0342\u0345 \u1fcc=\u1fcc " +
    "\u1ff2=\u1ffa\u0345 \u1ff3=\u1ffc \u1ff4=\u038f\u0345 \u1ff7=\u03a9\u0342\u0345 \u1ffc=\u1ffc")
    .split(" ").map((pair) => pair.split("=") as [string, string]),
);

/** Title case of one code point: upper case, but only its first letter where that has several. */
function titlePoint(point: string): string {
  const code = point.codePointAt(0) as number;
  if (code < 0x80) return point.toUpperCase();
  if (code >= 0x1c4 && code <= 0x1cc) return String.fromCharCode(code - ((code - 0x1c4) % 3) + 1); // Ǆ ǅ ǆ: ǅ
  if (code >= 0x1f1 && code <= 0x1f3) return "\u01f2";
  if (code >= 0x10d0 && code <= 0x10ff) return point; // Georgian has no title case
  if (code >= 0x1f80 && code <= 0x1faf) return String.fromCharCode(code | 8); // Greek with iota below
  const special = TITLE.get(point);
  if (special !== undefined) return special;
  const upper = point.toUpperCase();
  const first = String.fromCodePoint(upper.codePointAt(0) as number);
  const folds = code === 0xdf || code === 0x587 || (code >= 0xfb00 && code <= 0xfb17); // ß, և, ligatures
  return folds ? first + upper.slice(first.length).toLowerCase() : upper;
}

const CASED = /\p{Cased}/u;
const UPPERCASE = /\p{Uppercase}/u;
const LOWERCASE = /\p{Lowercase}/u;
const TITLECASE = /\p{Lt}/u;
const LETTER = /^\p{L}+$/u;
const DECIMAL = /^\p{Nd}+$/u;
/** Digits in circles, brackets, exponents: digits to Python, not decimal ones. */
const DIGIT =
  /^[\p{Nd}\xb2\xb3\xb9\u1369-\u1371\u19da\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792\u{10a40}-\u{10a43}\u{10e60}-\u{10e68}\u{11052}-\u{1105a}\u{1f100}-\u{1f10a}]+$/u;
/** Numbers: all of Unicode's, and the Chinese characters that stand for one. */
const CHINESE_NUMBERS =
  "㐅㒃㠪㭍一七万三九二五亖亿什仟仨伍佰億兆兩八六十千卄卅卌叁参參叄四壱壹幺廾廿弌弍弎弐拾捌柒漆玖百肆萬貮貳贰阡陆陌陸零\uf96b\uf973\uf978\uf9b2\uf9d1\uf9d3\uf9fd𠀁𠁤𠃢𠄡𠤪𠦃𠦌𠦜𠫪𠫽𠬙𢎐𢦘𣬛𦉭\u{2f890}";
const NUMERIC = new RegExp(`^[\\p{N}${CHINESE_NUMBERS}]+$`, "u");
const ALPHANUMERIC = /^[\p{L}\p{N}]+$/u;
const IDENTIFIER = /^[\p{XID_Start}_]\p{XID_Continue}*$/u;
const UNPRINTABLE = /[\p{C}\p{Z}]/u;
const SPACE = new RegExp(`^[${SPACES}]+$`);

/** str.isalpha() and its sisters, by name. An empty text is none of them, but ASCII and printable. */
export const CLASSES: Readonly<Record<string, (text: string) => boolean>> = {
  isalpha: (text) => LETTER.test(text),
  isdecimal: (text) => DECIMAL.test(text),
  isdigit: (text) => DIGIT.test(text),
  isnumeric: (text) => NUMERIC.test(text),
  isalnum: (text) => ALPHANUMERIC.test(text),
  isspace: (text) => SPACE.test(text),
  isidentifier: (text) => IDENTIFIER.test(text),
  isprintable: (text) => !UNPRINTABLE.test(text.replaceAll(" ", "")),
  isascii: (text) => /^[\0-\x7f]*$/.test(text),
  isupper: (text) => UPPERCASE.test(text) && !LOWERCASE.test(text) && !TITLECASE.test(text),
  islower: (text) => LOWERCASE.test(text) && !UPPERCASE.test(text) && !TITLECASE.test(text),
  istitle,
};

function istitle(text: string): boolean {
  let [cased, previous] = [false, false];
  for (const point of text) {
    if (UPPERCASE.test(point) || TITLECASE.test(point)) {
      if (previous) return false;
      cased = previous = true;
    } else if (LOWERCASE.test(point)) {
      if (!previous) return false;
      cased = previous = true;
    } else {
      previous = false;
    }
  }
  return cased;
}

/**
 * Each code point in a case of its own. JavaScript lowers a sigma by its neighbours only within a whole text, so the text
 * is lowered as a whole and taken apart.
 */
function mapCase(
  text: string,
  choose: (point: string, previous: string) => "lower" | "upper" | "title" | "same",
): string {
  const lowered = text.toLowerCase();
  let [result, at, previous] = ["", 0, ""];
  for (const point of text) {
    const lower = point.toLowerCase();
    const inContext = lower.length === 1 ? lowered.slice(at, at + 1) : lower;
    at += lower.length;
    const target = choose(point, previous);
    if (target === "lower") result += inContext;
    else if (target === "upper") result += point.toUpperCase();
    else result += target === "title" ? titlePoint(point) : point;
    previous = point;
  }
  return result;
}

/** str.capitalize(). */
export function capitalize(text: string): string {
  return mapCase(text, (_, previous) => previous === "" ? "title" : "lower");
}

/** str.title(): title case at the start of every run of cased characters. */
export function titleCase(text: string): string {
  return mapCase(text, (_, previous) => previous !== "" && CASED.test(previous) ? "lower" : "title");
}

/** str.swapcase(). */
export function swapCase(text: string): string {
  return mapCase(text, (point) => UPPERCASE.test(point) ? "lower" : LOWERCASE.test(point) ? "upper" : "same");
}

/** str.casefold(). */
export function caseFold(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase();
  return Array.from(text, foldPoint).join("");
}

/** Characters whose folding is the lower case of their upper case. */
const FOLDED_BY_UPPER =
  /[\xb5\xdf\u0149\u017f\u01f0\u0345\u0390\u03b0\u03c2\u03d0\u03d1\u03d5\u03d6\u03f0\u03f1\u03f5\u0587\u1c80-\u1c88\u1e96-\u1e9b\u1e9e\u1f50-\u1f56\u1f80-\u1faf\u1fb2-\u1fb4\u1fb6\u1fb7\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6\u1fc7\u1fcc\u1fd2\u1fd3\u1fd6\u1fd7\u1fe2-\u1fe4\u1fe6\u1fe7\u1ff2-\u1ff4\u1ff6\u1ff7\u1ffc\ufb00-\ufb06\ufb13-\ufb17]/;

function foldPoint(point: string): string {
  const code = point.codePointAt(0) as number;
  // Cherokee folds to its upper case
  if (code >= 0x13a0 && code <= 0x13f5) return point;
  if (code >= 0x13f8 && code <= 0x13fd) return String.fromCharCode(code - 8);
  if (code >= 0xab70 && code <= 0xabbf) return String.fromCharCode(code - 0xab70 + 0x13a0);
  const lower = point.toLowerCase();
  return FOLDED_BY_UPPER.test(point) ? lower.toUpperCase().toLowerCase() : lower;
}

/** The value of a decimal digit of any script, or null. */
export function digitValue(point: string): number | null {
  if (point >= "0" && point <= "9") return point.charCodeAt(0) - 0x30;
  if (!DECIMAL.test(point)) return null;
  // digits of a script lie side by side, from its zero on, in runs of ten; mathematical digits start anew at 1d7ce
  let zero = point.codePointAt(0) as number;
  const start = zero >= 0x1d7ce && zero <= 0x1d7ff ? 0x1d7ce + 10 * Math.floor((zero - 0x1d7ce) / 10) : 0;
  const code = zero;
  while (zero > start && code - zero < 9 && DECIMAL.test(String.fromCodePoint(zero - 1))) zero--;
  return code - zero;
}
