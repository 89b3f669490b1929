// SPDX-License-Identifier: Apache-2.0
/** Finding, counting, replacing and splitting texts, by code points and with Python's rules for empty ones. */
import { valueError } from "./errors.ts";
import { checkLength, spend, spendCharacters } from "./meter.ts";
import {
  codePointLength,
  codePoints,
  hasSurrogates,
  isSpaceCode,
  skipSpace,
  trailingSpace,
  utf16Index,
} from "./text.ts";

/** A part of a text: its UTF-16 bounds, and the index of its first code point. */
interface Part {
  readonly from: number;
  readonly to: number;
  readonly index: number;
}

/** The part that text.find(x, start, end) looks at; null when it starts beyond the end. */
export function partOf(text: string, start: number | null, end: number | null): Part | null {
  const length = codePointLength(text);
  const clamp = (index: number) => index < 0 ? Math.max(0, index + length) : index;
  const [first, last] = [clamp(start ?? 0), Math.min(length, clamp(end ?? length))];
  if (first > last) return null;
  if (!hasSurrogates(text)) return { from: first, to: last, index: first };
  return { from: utf16Index(text, first), to: utf16Index(text, last), index: first };
}

/** Index of the first or last occurrence by code points, -1 when there is none. */
export function find(text: string, needle: string, part: Part | null, last: boolean): number {
  if (part === null) return -1;
  spendCharacters(text.length);
  const within = text.slice(part.from, part.to);
  const at = last ? within.lastIndexOf(needle) : within.indexOf(needle);
  return at < 0 ? -1 : part.index + codePointLength(within.slice(0, at));
}

/** Number of occurrences that do not overlap. */
export function count(text: string, needle: string, part: Part | null): number {
  if (part === null) return 0;
  spendCharacters(text.length);
  const within = text.slice(part.from, part.to);
  if (needle === "") return codePointLength(within) + 1;
  let found = 0;
  for (let at = within.indexOf(needle); at >= 0; at = within.indexOf(needle, at + needle.length)) found++;
  return found;
}

/** text.replace(old, new, limit); a negative limit is none. */
export function replace(text: string, old: string, fresh: string, limit: number): string {
  spendCharacters(text.length);
  if (limit === 0) return text;
  if (old === "") return interleave(text, fresh, limit);
  let found = count(text, old, { from: 0, to: text.length, index: 0 });
  if (found === 0) return text;
  if (limit > 0) found = Math.min(found, limit);
  checkLength(text.length + found * (fresh.length - old.length));
  spend(found / 4);
  if (limit < 0) return text.replaceAll(old, () => fresh);
  let [result, at] = ["", 0];
  for (let i = 0; i < found; i++) {
    const next = text.indexOf(old, at);
    result += text.slice(at, next) + fresh;
    at = next + old.length;
  }
  return result + text.slice(at);
}

/** A text put before every code point, and at the end. */
function interleave(text: string, fresh: string, limit: number): string {
  const points = codePoints(text);
  const times = limit < 0 ? points.length + 1 : Math.min(limit, points.length + 1);
  checkLength(text.length + times * fresh.length);
  const parts = points.map((point, i) => i < times ? fresh + point : point);
  return parts.join("") + (times > points.length ? fresh : "");
}

/** text.split(separator, limit) at a separator; a negative limit is none. */
export function splitAt(text: string, separator: string, limit: number, fromRight: boolean): string[] {
  if (separator === "") throw valueError("empty separator");
  spendCharacters(text.length);
  if (limit < 0) {
    const parts = text.split(separator);
    spend(parts.length / 4);
    return fromRight && parts.length > 2 ? splitFromRight(text, separator, text.length) : parts;
  }
  if (fromRight) return splitFromRight(text, separator, limit);
  const parts: string[] = [];
  let at = 0;
  while (parts.length < limit) {
    const next = text.indexOf(separator, at);
    if (next < 0) break;
    parts.push(text.slice(at, next));
    at = next + separator.length;
  }
  parts.push(text.slice(at));
  return parts;
}

function splitFromRight(text: string, separator: string, limit: number): string[] {
  const parts: string[] = [];
  let end = text.length;
  while (parts.length < limit && end >= separator.length) {
    const next = text.lastIndexOf(separator, end - separator.length);
    if (next < 0) break;
    parts.push(text.slice(next + separator.length, end));
    end = next;
  }
  parts.push(text.slice(0, end));
  return parts.reverse();
}

/** text.split() at runs of white space. */
export function splitSpace(text: string, limit: number): string[] {
  spendCharacters(text.length * 2);
  const parts: string[] = [];
  let at = skipSpace(text, 0);
  while (at < text.length) {
    if (limit >= 0 && parts.length >= limit) {
      parts.push(text.slice(at, Math.max(at, trailingSpace(text))));
      break;
    }
    let end = at;
    while (end < text.length && !isSpaceCode(text.charCodeAt(end))) end++;
    parts.push(text.slice(at, end));
    at = skipSpace(text, end);
  }
  return parts;
}

/** text.rsplit() at runs of white space. */
export function splitSpaceFromRight(text: string, limit: number): string[] {
  if (limit < 0) return splitSpace(text, limit);
  spendCharacters(text.length * 2);
  const parts: string[] = [];
  let end = trailingSpace(text);
  while (end > 0) {
    if (parts.length >= limit) {
      parts.push(text.slice(Math.min(end, skipSpace(text, 0)), end));
      break;
    }
    let start = end;
    while (start > 0 && !isSpaceCode(text.charCodeAt(start - 1))) start--;
    parts.push(text.slice(start, end));
    end = trailingSpace(text.slice(0, start));
  }
  return parts.reverse();
}
