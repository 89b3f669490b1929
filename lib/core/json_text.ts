// SPDX-License-Identifier: Apache-2.0
/**
 * JSON as it is written: keys that an object has twice, of which `JSON.parse` keeps only the last, and limits that are checked
 * before anything is made of the text, so that no file can take memory or time without end.
 */
import { quotedNames } from "./quoted.ts";

/** Limits of a text, counted as it is written. */
export interface JsonLimits {
  /** Objects and lists within each other. Far below what functions that call themselves can follow. */
  readonly depth: number;
  /** Keys of the outermost object. */
  readonly keys: number;
  /** Values of all objects and lists together. */
  readonly values: number;
}

/** More than any file here has: the largest tokenizers have a million values. */
const JSON_LIMITS: JsonLimits = { depth: 500, keys: 10_000_000, values: 10_000_000 };

/**
 * Parses a text in which no object has a key twice.
 *
 * @throws {SyntaxError} When it is no such text, or beyond a limit; its message can stand after the name of the file:
 *   `has the key "a.b" twice: keep one`. Elements of a list have the path of the list
 */
export function parseJsonText(text: string, limits: Partial<JsonLimits> = {}): unknown {
  const twice = repeatedKeys(text, { ...JSON_LIMITS, ...limits });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const hint = /\b(NaN|Infinity)\b/.test(text) ? " (NaN and Infinity are no JSON numbers)" : "";
    throw new SyntaxError(`is not JSON: ${(error as Error).message}${hint}`);
  }
  const names = [...new Set(twice.map((keys) => keys.join(".")))];
  if (names.length === 0) return value;
  throw new SyntaxError(
    `has the ${names.length === 1 ? "key" : "keys"} ${quotedNames(names)} twice: keep one`,
  );
}

/** An object or list that is open while a text is scanned. */
interface OpenValue {
  /** Keys seen so far: a few in a list, more in a set; null in a list of values. */
  keys: string[] | Set<string> | null;
  /** Of the value itself in the object around it; null in a list, and outermost. */
  readonly key: string | null;
}

/** Keys that stand twice, of which nobody needs to know more. */
const MOST_FOUND = 1000;

/** Keys of which each is compared with each; of more, a set is made. */
const FEW_KEYS = 8;

const [QUOTE, COMMA, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN, CLOSE] = [34, 44, 92, 91, 93, 123, 125];

/** Keys that stand twice, as the keys that lead to them and they themselves. Ends for every text; what it says of one that is no JSON means nothing. */
function repeatedKeys(text: string, limits: JsonLimits): string[][] {
  const found: string[][] = [];
  const open: OpenValue[] = [];
  let inner: OpenValue | undefined;
  let key = "";
  let expectsKey = false;
  let [values, outerKeys] = [0, 0];
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE: {
        const end = stringEnd(text, at);
        if (expectsKey && inner !== undefined && inner.keys !== null) {
          key = keyOf(text, at, end);
          if (open.length === 1 && ++outerKeys > limits.keys) throw beyond("keys", limits.keys);
          if (addKey(inner, key)) {
            found.push([...open.flatMap((value) => value.key ?? []), key]);
            if (found.length === MOST_FOUND) return found;
          }
        }
        expectsKey = false;
        at = end;
        break;
      }
      case OPEN:
      case OPEN_LIST:
        expectsKey = text.charCodeAt(at) === OPEN;
        inner = { keys: expectsKey ? [] : null, key: inner?.keys ? key : null };
        open.push(inner);
        if (open.length > limits.depth) throw beyond("levels", limits.depth);
        if (++values > limits.values) throw beyond("values", limits.values);
        break;
      case CLOSE:
      case CLOSE_LIST:
        open.pop();
        inner = open.at(-1);
        expectsKey = false;
        break;
      case COMMA:
        expectsKey = inner !== undefined && inner.keys !== null;
        if (++values > limits.values) throw beyond("values", limits.values);
    }
  }
  return found;
}

function beyond(what: string, limit: number): SyntaxError {
  return new SyntaxError(`has more than ${limit} ${what}, more than any such file`);
}

/** Whether the key is there already. @mutates value */
function addKey(value: OpenValue, key: string): boolean {
  let keys = value.keys as string[] | Set<string>;
  if (Array.isArray(keys)) {
    if (keys.includes(key)) return true;
    if (keys.length < FEW_KEYS) {
      keys.push(key);
      return false;
    }
    keys = value.keys = new Set(keys);
  }
  const { size } = keys;
  return keys.add(key).size === size;
}

/** The key between two quotes, as `JSON.parse` reads it. */
function keyOf(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end);
  if (!raw.includes("\\")) return raw;
  try {
    return JSON.parse(`"${raw}"`) as string;
  } catch {
    return raw; // no JSON: the parser will say so
  }
}

/** Index of the quote that closes the string opened at `start`; the text's length when none does. */
function stringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === BACKSLASH) before--;
    if ((end - before) % 2 === 1) return end;
  }
  return text.length;
}
