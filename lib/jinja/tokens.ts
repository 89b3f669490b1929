// SPDX-License-Identifier: Apache-2.0
/** Tokens of a template, and their names in messages. */
import { JinjaError } from "./errors.ts";
import type { Float } from "./values.ts";

/** Operators by their text. */
export const OPERATORS = {
  "+": "add",
  "-": "sub",
  "/": "div",
  "//": "floordiv",
  "*": "mul",
  "%": "mod",
  "**": "pow",
  "~": "tilde",
  "[": "lbracket",
  "]": "rbracket",
  "(": "lparen",
  ")": "rparen",
  "{": "lbrace",
  "}": "rbrace",
  "==": "eq",
  "!=": "ne",
  ">": "gt",
  ">=": "gteq",
  "<": "lt",
  "<=": "lteq",
  "=": "assign",
  ".": "dot",
  ":": "colon",
  "|": "pipe",
  ",": "comma",
  ";": "semicolon",
} as const;

export type OperatorType = typeof OPERATORS[keyof typeof OPERATORS];
export type TokenType =
  | OperatorType
  | "data"
  | "variable_begin"
  | "variable_end"
  | "block_begin"
  | "block_end"
  | "name"
  | "string"
  | "integer"
  | "float"
  | "eof";

/** A token: its text, or the value of a number. */
export interface Token {
  readonly type: TokenType;
  readonly line: number;
  readonly text: string;
  readonly value?: number | bigint | Float;
}

export function syntaxError(message: string, line: number): JinjaError {
  return new JinjaError("TemplateSyntaxError", message, line);
}

const OPERATOR_TEXTS = new Map<string, string>(Object.entries(OPERATORS).map(([text, type]) => [type, text]));
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  block_begin: "begin of statement block",
  block_end: "end of statement block",
  variable_begin: "begin of print statement",
  variable_end: "end of print statement",
  data: "template data / text",
  eof: "end of template",
};

/** A token's type in a message. */
export function describeType(type: string): string {
  return OPERATOR_TEXTS.get(type) ?? DESCRIPTIONS[type] ?? type;
}

/** A token in a message. */
export function describe({ type, text }: Token): string {
  return type === "name" ? text : describeType(type);
}
