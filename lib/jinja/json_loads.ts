// SPDX-License-Identifier: Apache-2.0
/**
 * JSON as Python's json.loads() reads it: ints of any size, 1.0 apart from 1, NaN and Infinity, keys in their order even
 * when they look like numbers. JavaScript's own parser loses all of these.
 */
import { Float, integer } from "./values.ts";

/**
 * A value read: null, booleans, strings, safe ints as numbers, others as bigints, floats as {@linkcode Float}, arrays, and
 * objects as plain ones; as a Map where a plain one would not keep the order of its keys, or hide one (`__proto__`).
 */
export type PythonJson =
  | null
  | boolean
  | string
  | number
  | bigint
  | Float
  | PythonJson[]
  | { [key: string]: PythonJson }
  | Map<string, PythonJson>;

/** Arrays and objects within each other; Python's own limit is near it. */
const MAX_DEPTH = 900;

/** @throws {SyntaxError} With line and column, when the text is not JSON */
export function parsePythonJson(text: string): PythonJson {
  const reader: Reader = { text, at: 0 };
  skipSpace(reader);
  const value = readValue(reader, 0);
  skipSpace(reader);
  if (reader.at < text.length) throw wrong(reader, "Extra data");
  return value;
}

interface Reader {
  readonly text: string;
  at: number;
}

function wrong(reader: Reader, message: string, at = reader.at): SyntaxError {
  const before = reader.text.slice(0, at);
  const line = before.split("\n").length;
  return new SyntaxError(`${message}: line ${line} column ${at - before.lastIndexOf("\n")} (char ${at})`);
}

function skipSpace(reader: Reader): void {
  const { text } = reader;
  let at = reader.at;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) break;
    at++;
  }
  reader.at = at;
}

const WORDS: readonly (readonly [string, () => PythonJson])[] = [
  ["null", () => null],
  ["true", () => true],
  ["false", () => false],
  ["NaN", () => new Float(NaN)],
  ["Infinity", () => new Float(Infinity)],
  ["-Infinity", () => new Float(-Infinity)],
];
const NUMBER = /(-?(?:0|[1-9]\d*))(\.\d+)?([eE][-+]?\d+)?/y;

function readValue(reader: Reader, depth: number): PythonJson {
  if (depth > MAX_DEPTH) throw wrong(reader, `More than ${MAX_DEPTH} arrays and objects within each other`);
  const { text, at } = reader;
  switch (text[at]) {
    case '"':
      return readString(reader);
    case "{":
      return readObject(reader, depth);
    case "[":
      return readArray(reader, depth);
  }
  for (const [word, make] of WORDS) {
    if (text.startsWith(word, at)) {
      reader.at += word.length;
      return make();
    }
  }
  return readNumber(reader);
}

function readNumber(reader: Reader): number | bigint | Float {
  NUMBER.lastIndex = reader.at;
  const match = NUMBER.exec(reader.text);
  if (match === null) throw wrong(reader, "Expecting value");
  const [all, whole = "", fraction, exponent] = match;
  reader.at += all.length;
  if (fraction !== undefined || exponent !== undefined) return new Float(Number(all));
  const quick = Number(whole);
  return Number.isSafeInteger(quick) ? quick + 0 : integer(BigInt(whole));
}

function readArray(reader: Reader, depth: number): PythonJson[] {
  const items: PythonJson[] = [];
  reader.at++;
  skipSpace(reader);
  if (reader.text[reader.at] === "]") {
    reader.at++;
    return items;
  }
  for (;;) {
    items.push(readValue(reader, depth + 1));
    skipSpace(reader);
    const next = reader.text[reader.at];
    if (next !== "," && next !== "]") throw wrong(reader, "Expecting ',' delimiter");
    reader.at++;
    if (next === "]") return items;
    skipSpace(reader);
  }
}

/** Keys whose order or presence a plain object does not keep. */
const UNKEEPABLE = /^(0|[1-9]\d*|__proto__)$/;

function readObject(reader: Reader, depth: number): { [key: string]: PythonJson } | Map<string, PythonJson> {
  const entries = new Map<string, PythonJson>();
  let plain = true;
  reader.at++;
  skipSpace(reader);
  if (reader.text[reader.at] === "}") {
    reader.at++;
    return {};
  }
  for (;;) {
    if (reader.text[reader.at] !== '"') {
      throw wrong(reader, "Expecting property name enclosed in double quotes");
    }
    const key = readString(reader);
    plain &&= !UNKEEPABLE.test(key);
    skipSpace(reader);
    if (reader.text[reader.at] !== ":") throw wrong(reader, "Expecting ':' delimiter");
    reader.at++;
    skipSpace(reader);
    entries.set(key, readValue(reader, depth + 1));
    skipSpace(reader);
    const next = reader.text[reader.at];
    if (next !== "," && next !== "}") throw wrong(reader, "Expecting ',' delimiter");
    reader.at++;
    if (next === "}") return plain ? Object.fromEntries(entries) : entries;
    skipSpace(reader);
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};
// deno-lint-ignore no-control-regex
const PLAIN = /[^"\\\0-\x1f]*/y;

function readString(reader: Reader): string {
  const { text } = reader;
  const start = reader.at++;
  let result = "";
  for (;;) {
    PLAIN.lastIndex = reader.at;
    const [plain = ""] = PLAIN.exec(text) ?? [];
    result += plain;
    reader.at += plain.length;
    const next = text[reader.at];
    if (next === undefined) throw wrong(reader, "Unterminated string starting at", start);
    if (next === '"') {
      reader.at++;
      return result;
    }
    if (next !== "\\") throw wrong(reader, "Invalid control character at");
    result += readEscape(reader, start);
  }
}

function readEscape(reader: Reader, start: number): string {
  const letter = reader.text[reader.at + 1];
  if (letter === undefined) throw wrong(reader, "Unterminated string starting at", start);
  const plain = ESCAPES[letter];
  if (plain !== undefined) {
    reader.at += 2;
    return plain;
  }
  if (letter !== "u") throw wrong(reader, "Invalid \\escape");
  const hex = reader.text.slice(reader.at + 2, reader.at + 6);
  if (!/^[0-9a-fA-F]{4}$/.test(hex)) throw wrong(reader, "Invalid \\uXXXX escape", reader.at + 1);
  reader.at += 6;
  return String.fromCharCode(parseInt(hex, 16));
}
