// SPDX-License-Identifier: Apache-2.0
/** Escapes of a string literal, as Python's codec `unicode-escape` reads them. */
import { syntaxError } from "./tokens.ts";

const SIMPLE: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
const HEX_LENGTHS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/**
 * The text of a literal without its quotes.
 *
 * Jinja2 first writes what is beyond ASCII as escapes of its own: a backslash before such a character therefore escapes
 * the backslash of that escape, and the escape's letters stay.
 *
 * @throws {JinjaError} When an escape is cut off, or names a character by its Unicode name
 */
export function unescapeLiteral(literal: string, line: number): string {
  if (!literal.includes("\\")) return literal;
  return literal.replace(
    /\\(?:([0-7]{1,3})|([xuU])([0-9a-fA-F]*)|([^]))/gu,
    (whole, octal?: string, kind?: string, hex?: string, other?: string) => {
      if (octal !== undefined) return String.fromCodePoint(parseInt(octal, 8));
      if (kind !== undefined) return hexEscape(kind, hex as string, line);
      const character = other as string;
      if (character === "N") {
        throw syntaxError("characters by name (\\N{…}) are not supported in texts", line);
      }
      if ((character.codePointAt(0) as number) > 0x7f) return `\\${asciiEscape(character)}`;
      return SIMPLE[character] ?? whole;
    },
  );
}

function hexEscape(kind: string, hex: string, line: number): string {
  const length = HEX_LENGTHS[kind] as number;
  if (hex.length < length) {
    const form = `\\${kind}${"X".repeat(length)}`;
    throw syntaxError(length === 8 ? "truncated \\UXXXXXXXX escape" : `truncated ${form} escape`, line);
  }
  const code = parseInt(hex.slice(0, length), 16);
  if (code > 0x10ffff) throw syntaxError("illegal Unicode character", line);
  if (code >= 0xd800 && code <= 0xdfff) {
    throw syntaxError(
      `the escape \\${kind}${hex.slice(0, length)} is half a character, which no tokenizer takes`,
      line,
    );
  }
  return String.fromCodePoint(code) + hex.slice(length);
}

function asciiEscape(character: string): string {
  const code = character.codePointAt(0) as number;
  const hex = code.toString(16);
  if (code < 0x100) return `x${hex}`;
  return code < 0x10000 ? `u${hex.padStart(4, "0")}` : `U${hex.padStart(8, "0")}`;
}
