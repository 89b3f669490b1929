// SPDX-License-Identifier: Apache-2.0
/**
 * Template text to tokens, with white space as transformers' environment has it: `trim_blocks` (the line end after a
 * block tag goes), `lstrip_blocks` (the blanks before a block tag at the start of a line go), and no line end at the end.
 *
 * The rules are those of Jinja2's lexer, in its order: what a tag's minus, plus or nothing does follows from them.
 */
import { stringRepr } from "./repr.ts";
import { unescapeLiteral } from "./string_literal.ts";
import { isSpaceCode, skipSpace, SPACES, trailingSpace } from "./text.ts";
import { OPERATORS, syntaxError, type Token, type TokenType } from "./tokens.ts";
import { CLASSES } from "./unicode.ts";
import { Float, integer } from "./values.ts";

interface Lexer {
  readonly source: string;
  readonly tokens: Token[];
  at: number;
  line: number;
  /** Whether what was read last ended with a line end. */
  lineStarting: boolean;
}

/** @throws {JinjaError} A syntax error with its line */
export function tokenize(template: string): Token[] {
  const source = template.replace(/\r\n|\r/g, "\n").replace(/\n$/, "");
  const lexer: Lexer = { source, tokens: [], at: 0, line: 1, lineStarting: true };
  while (lexer.at < source.length) readRoot(lexer);
  push(lexer, "eof", "");
  return lexer.tokens;
}

function push(lexer: Lexer, type: TokenType, text: string): void {
  lexer.tokens.push({ type, line: lexer.line, text });
}

/** Moves on to a position, counting lines. */
function advance(lexer: Lexer, to: number): void {
  for (
    let i = lexer.source.indexOf("\n", lexer.at);
    i >= 0 && i < to;
    i = lexer.source.indexOf("\n", i + 1)
  ) {
    lexer.line++;
  }
  lexer.at = to;
}

const OPENING = /\{[%#{]/g;
const RAW = /\{%([-+]?)/y;

/** Text up to the next tag, and the tag. */
function readRoot(lexer: Lexer): void {
  const { source, at } = lexer;
  OPENING.lastIndex = at;
  const opening = OPENING.exec(source);
  if (opening === null) {
    push(lexer, "data", source.slice(at));
    advance(lexer, source.length);
    return;
  }
  const kind = opening[0];
  const raw = kind === "{%" ? rawEnd(source, opening.index) : null;
  const signAt = opening.index + 2;
  const sign = source[signAt] === "-" || source[signAt] === "+" ? source[signAt] as "-" | "+" : "";
  readText(lexer, opening.index, sign, kind !== "{{");
  advance(lexer, raw ?? signAt + sign.length);
  lexer.lineStarting = source[lexer.at - 1] === "\n";
  if (raw !== null) readRaw(lexer);
  else if (kind === "{#") readComment(lexer);
  else if (kind === "{{") readTag(lexer, "variable");
  else readTag(lexer, "block");
}

/** Where `{% raw %}` ends, with the white space that its minus takes; null for another tag. */
function rawEnd(source: string, start: number): number | null {
  RAW.lastIndex = start;
  RAW.exec(source);
  const name = skipSpace(source, RAW.lastIndex);
  if (!source.startsWith("raw", name)) return null;
  const end = skipSpace(source, name + 3);
  if (source.startsWith("-%}", end)) return skipSpace(source, end + 3);
  return source.startsWith("%}", end) ? end + 2 : null;
}

/** The text before a tag: without what the tag's minus, or its place at the start of a line, takes away. */
function readText(lexer: Lexer, end: number, sign: "-" | "+" | "", strips: boolean): void {
  const text = lexer.source.slice(lexer.at, end);
  let kept = text;
  if (sign === "-") {
    kept = text.slice(0, trailingSpace(text));
  } else if (sign === "" && strips) {
    const lineStart = text.lastIndexOf("\n") + 1;
    const blank = lineStart < text.length && skipSpace(text, lineStart) === text.length;
    if ((lineStart > 0 || lexer.lineStarting) && blank) kept = text.slice(0, lineStart);
  }
  if (kept !== "") push(lexer, "data", kept);
  advance(lexer, end);
}

function readComment(lexer: Lexer): void {
  const { source, at } = lexer;
  if (at >= source.length) return; // Jinja2 does not mind a comment that starts at the very end
  const close = source.indexOf("#}", at);
  if (close < 0) throw syntaxError("Missing end of comment tag", lexer.line);
  const minus = close > at && source[close - 1] === "-";
  const plus = close > at && source[close - 1] === "+";
  endTag(lexer, close + 2, minus, plus);
}

/** Moves behind the end of a tag, and of the white space or the line end that goes with it. */
function endTag(lexer: Lexer, end: number, minus: boolean, plus: boolean): void {
  const { source } = lexer;
  const to = minus ? skipSpace(source, end) : !plus && source[end] === "\n" ? end + 1 : end;
  advance(lexer, to);
  lexer.lineStarting = source[to - 1] === "\n";
}

const ENDRAW = new RegExp(`\\{%([-+]?)[${SPACES}]*endraw[${SPACES}]*(?:(\\+%\\})|(-%\\})|%\\})`, "g");

function readRaw(lexer: Lexer): void {
  const { source, at } = lexer;
  if (at >= source.length) return;
  ENDRAW.lastIndex = at;
  const end = ENDRAW.exec(source);
  if (end === null) throw syntaxError("Missing end of raw directive", lexer.line);
  readText(lexer, end.index, end[1] as "-" | "+" | "", true);
  endTag(lexer, end.index + end[0].length, end[3] !== undefined, end[2] !== undefined);
}

const CLOSING: Readonly<Record<string, string>> = { "{": "}", "(": ")", "[": "]" };

/** The inside of `{{ }}` or `{% %}`. */
function readTag(lexer: Lexer, kind: "variable" | "block"): void {
  const { source } = lexer;
  push(lexer, `${kind}_begin`, "");
  const open: string[] = [];
  while (lexer.at < source.length) {
    if (open.length === 0 && readEnd(lexer, kind)) return;
    readInside(lexer, open);
  }
}

function readEnd(lexer: Lexer, kind: "variable" | "block"): boolean {
  const { source, at } = lexer;
  const close = kind === "block" ? "%}" : "}}";
  const minus = source[at] === "-";
  const plus = source[at] === "+" && kind === "block";
  const start = at + (minus || plus ? 1 : 0);
  if (!source.startsWith(close, start)) return false;
  push(lexer, `${kind}_end`, "");
  endTag(lexer, start + 2, minus, plus || kind === "variable");
  return true;
}

const FLOAT =
  /(?:\p{Nd}+_)*\p{Nd}+(?:(?:\.(?:\p{Nd}+_)*\p{Nd}+)?e[+-]?(?:\p{Nd}+_)*\p{Nd}+|\.(?:\p{Nd}+_)*\p{Nd}+)/iuy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{N}_\p{XID_Continue}]+/uy;
const STRING = /'[^'\\]*(?:\\[^][^'\\]*)*'|"[^"\\]*(?:\\[^][^"\\]*)*"/y;
const OPERATOR = /\*\*|\/\/|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;

function matchAt(pattern: RegExp, { source, at }: Lexer): string | null {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0] ?? null;
}

/** One token within a tag, or white space. */
function readInside(lexer: Lexer, open: string[]): void {
  const { source, at } = lexer;
  if (isSpaceCode(source.charCodeAt(at))) {
    advance(lexer, skipSpace(source, at));
    lexer.lineStarting = source[lexer.at - 1] === "\n";
    return;
  }
  lexer.lineStarting = false;
  const number = source[at - 1] === "." ? null : matchAt(FLOAT, lexer);
  if (number !== null) return pushNumber(lexer, number, "float");
  const whole = matchAt(INTEGER, lexer);
  if (whole !== null) return pushNumber(lexer, whole, "integer");
  const name = matchAt(NAME, lexer);
  if (name !== null) {
    if (!CLASSES["isidentifier"]?.(name)) throw syntaxError("Invalid character in identifier", lexer.line);
    return pushText(lexer, "name", name, name.length);
  }
  const string = matchAt(STRING, lexer);
  if (string !== null) {
    return pushText(lexer, "string", unescapeLiteral(string.slice(1, -1), lexer.line), string.length);
  }
  const operator = matchAt(OPERATOR, lexer);
  if (operator === null) {
    const character = String.fromCodePoint(source.codePointAt(at) as number);
    throw syntaxError(`unexpected char ${stringRepr(character)} at ${at}`, lexer.line);
  }
  balance(operator, open, lexer.line);
  pushText(lexer, OPERATORS[operator as keyof typeof OPERATORS], operator, operator.length);
}

function pushText(lexer: Lexer, type: TokenType, text: string, length: number): void {
  push(lexer, type, text);
  advance(lexer, lexer.at + length);
}

function pushNumber(lexer: Lexer, text: string, type: "integer" | "float"): void {
  const digits = text.replaceAll("_", "");
  if (digits.length > 4300) {
    throw syntaxError("Exceeds the limit (4300 digits) for integer string conversion", lexer.line);
  }
  const value = type === "float" ? new Float(floatLiteral(digits, lexer.line)) : integer(BigInt(digits));
  lexer.tokens.push({ type, line: lexer.line, text, value });
  advance(lexer, lexer.at + text.length);
}

function floatLiteral(digits: string, line: number): number {
  const value = Number(digits);
  if (!Number.isFinite(value)) throw syntaxError(`the number ${digits} is too large for a float`, line);
  return value;
}

function balance(operator: string, open: string[], line: number): void {
  const closing = CLOSING[operator];
  if (closing !== undefined) open.push(closing);
  if (operator !== "}" && operator !== ")" && operator !== "]") return;
  const expected = open.pop();
  if (expected === undefined) throw syntaxError(`unexpected '${operator}'`, line);
  if (expected !== operator) throw syntaxError(`unexpected '${operator}', expected '${expected}'`, line);
}
