// SPDX-License-Identifier: Apache-2.0
/** Tokens one after the other, with what the parser asks of them. */
import { describe, describeType, syntaxError, type Token, type TokenType } from "./tokens.ts";
import type { JinjaError } from "./errors.ts";

/** What the parser reads, and where it is. */
export interface TokenStream {
  readonly tokens: readonly Token[];
  at: number;
  /** Tags that are open, the innermost last. */
  readonly openTags: string[];
  /** End tags that are looked for, the innermost last. */
  readonly endTags: (readonly string[])[];
  depth: number;
}

/** Expressions within each other, and blocks within each other: beyond it Python gives up too. */
const MAX_DEPTH = 400;

export function current(stream: TokenStream): Token {
  return stream.tokens[stream.at] as Token;
}

/** The token after the current one. */
export function look(stream: TokenStream): Token {
  return stream.tokens[Math.min(stream.at + 1, stream.tokens.length - 1)] as Token;
}

/** Goes on, and returns the token that was current. */
export function next(stream: TokenStream): Token {
  const token = current(stream);
  if (token.type !== "eof") stream.at++;
  return token;
}

/** Whether a token is a name, any or this one. */
export function isName(token: Token, name: string): boolean {
  return token.type === "name" && token.text === name;
}

/** Goes over a name or an operator when it is there. */
export function skipName(stream: TokenStream, name: string): boolean {
  if (!isName(current(stream), name)) return false;
  next(stream);
  return true;
}

export function skip(stream: TokenStream, type: TokenType): boolean {
  if (current(stream).type !== type) return false;
  next(stream);
  return true;
}

/** @throws {JinjaError} When another token is there */
export function expect(stream: TokenStream, type: TokenType): Token {
  const token = current(stream);
  if (token.type !== type) throw expected(token, describeType(type));
  return next(stream);
}

export function expectName(stream: TokenStream, name: string): Token {
  const token = current(stream);
  if (!isName(token, name)) throw expected(token, name);
  return next(stream);
}

function expected(token: Token, wanted: string): JinjaError {
  return token.type === "eof"
    ? syntaxError(`unexpected end of template, expected '${wanted}'.`, token.line)
    : syntaxError(`expected token '${wanted}', got '${describe(token)}'`, token.line);
}

/** Parses something one level deeper. */
export function nested<T>(stream: TokenStream, parse: () => T): T {
  if (++stream.depth > MAX_DEPTH) {
    throw syntaxError(
      `expressions or blocks are more than ${MAX_DEPTH} deep within each other`,
      current(stream).line,
    );
  }
  const result = parse();
  stream.depth--;
  return result;
}
