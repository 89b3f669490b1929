// SPDX-License-Identifier: Apache-2.0
/**
 * Python's str: a sequence of code points, with Python's white space and line ends. JavaScript's strings are UTF-16, so
 * positions differ as soon as a text has a character beyond the basic plane (an emoji).
 */
import { spend, spendCharacters, spendText } from "./meter.ts";

const SURROGATE = /[\ud800-\udfff]/;

/** Whether positions of UTF-16 are not those of code points. */
export function hasSurrogates(text: string): boolean {
  spendText(text);
  return SURROGATE.test(text);
}

/** Number of code points. */
export function codePointLength(text: string): number {
  if (!hasSurrogates(text)) return text.length;
  let count = 0;
  spend(text.length / 8);
  for (const _ of text) count++;
  return count;
}

/** Code points as strings. */
export function codePoints(text: string): string[] {
  spend(text.length / 4);
  return Array.from(text);
}

/** UTF-16 position of a code point's index. */
export function utf16Index(text: string, index: number): number {
  let position = 0;
  for (let i = 0; i < index && position < text.length; i++) {
    position += (text.codePointAt(position) as number) > 0xffff ? 2 : 1;
  }
  return position;
}

/** text[start:end] by code points, 0 <= start <= end. */
export function sliceCodePoints(text: string, start: number, end: number): string {
  if (!hasSurrogates(text)) return text.slice(start, end);
  const from = utf16Index(text, start);
  return text.slice(from, from + utf16Index(text.slice(from), end - start));
}

/** The same characters as isSpaceCode(), for a class of a regex. */
export const SPACES = "\\t-\\r\\x1c- \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

/** What Python's str.isspace() and its regexes call white space. */
export function isSpaceCode(code: number): boolean {
  if (code <= 0x20) return code === 0x20 || (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x1f);
  if (code < 0x85) return false;
  return code === 0x85 || code === 0xa0 || code === 0x1680 || (code >= 0x2000 && code <= 0x200a) ||
    code === 0x2028 || code === 0x2029 || code === 0x202f || code === 0x205f || code === 0x3000;
}

/** Position after the white space that starts at a position. */
export function skipSpace(text: string, position: number): number {
  while (position < text.length && isSpaceCode(text.charCodeAt(position))) position++;
  return position;
}

/** Position of the white space that ends the text. */
export function trailingSpace(text: string): number {
  let end = text.length;
  while (end > 0 && isSpaceCode(text.charCodeAt(end - 1))) end--;
  return end;
}

/** text.strip(), lstrip() or rstrip(), of white space or of the code points in `characters`. */
export function strip(text: string, characters: string | null, sides: "both" | "left" | "right"): string {
  if (characters === null) {
    const start = sides === "right" ? 0 : skipSpace(text, 0);
    const end = sides === "left" ? text.length : trailingSpace(text);
    spend((text.length - Math.max(0, end - start)) / 8);
    return start === 0 && end === text.length ? text : text.slice(start, Math.max(start, end));
  }
  spend(characters.length / 4);
  const set = new Set(characters);
  let [start, end] = [0, text.length];
  if (sides !== "right") {
    while (start < end) {
      const point = String.fromCodePoint(text.codePointAt(start) as number);
      if (!set.has(point)) break;
      start += point.length;
    }
  }
  if (sides !== "left") {
    while (end > start) {
      const point = lastCodePoint(text, end);
      if (!set.has(point)) break;
      end -= point.length;
    }
  }
  return text.slice(start, end);
}

function lastCodePoint(text: string, end: number): string {
  const low = text.charCodeAt(end - 1);
  if (low >= 0xdc00 && low <= 0xdfff && end > 1) {
    const high = text.charCodeAt(end - 2);
    if (high >= 0xd800 && high <= 0xdbff) return text.slice(end - 2, end);
  }
  return text.slice(end - 1, end);
}

/** text.splitlines(): all line ends that Python knows, none of them at the end giving an empty line. */
export function splitLines(text: string, keepEnds = false): string[] {
  spendCharacters(text.length);
  const lines: string[] = [];
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (!isLineEnd(code)) continue;
    const end = i;
    if (code === 0x0d && text.charCodeAt(i + 1) === 0x0a) i++;
    lines.push(text.slice(start, keepEnds ? i + 1 : end));
    start = i + 1;
  }
  if (start < text.length) lines.push(text.slice(start));
  return lines;
}

function isLineEnd(code: number): boolean {
  return (code >= 0x0a && code <= 0x0d) || (code >= 0x1c && code <= 0x1e) || code === 0x85 ||
    code === 0x2028 ||
    code === 0x2029;
}

/** Order of two strings by code points: negative, 0 or positive. UTF-16's order differs beyond the basic plane. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  const shared = Math.min(a.length, b.length);
  spend(shared / 8);
  for (let i = 0; i < shared; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x === y) continue;
    // a surrogate stands for a code point above every other unit
    const [xHigh, yHigh] = [x >= 0xd800 && x <= 0xdfff, y >= 0xd800 && y <= 0xdfff];
    return xHigh === yHigh ? x - y : xHigh ? 1 : -1;
  }
  return a.length - b.length;
}
