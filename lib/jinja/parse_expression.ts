// SPDX-License-Identifier: Apache-2.0
// size: the levels of precedence call each other in a circle
/**
 * Expressions, with the precedence of Jinja2's parser, which is not always Python's: unary minus binds closer than `**`,
 * which goes left to right; `~` binds closer than `+`; filters and tests bind closest of all.
 */
import type { Arguments, Call, Expression, Filter, Slice } from "./ast.ts";
import type { Comparison } from "./compare.ts";
import type { ArithmeticOperator } from "./numbers.ts";
import {
  current,
  expect,
  expectName,
  isName,
  look,
  nested,
  next,
  skip,
  skipName,
  type TokenStream,
} from "./token_stream.ts";
import { describe, syntaxError, type TokenType } from "./tokens.ts";

/** An expression; without `conditional`, an `if` behind it is not its own. */
export function parseExpression(stream: TokenStream, conditional = true): Expression {
  return nested(stream, () => conditional ? parseConditional(stream) : parseOr(stream));
}

function parseConditional(stream: TokenStream): Expression {
  let { line } = current(stream);
  let then = parseOr(stream);
  while (skipName(stream, "if")) {
    const test = parseOr(stream);
    const otherwise = skipName(stream, "else") ? nested(stream, () => parseConditional(stream)) : null;
    then = { type: "Conditional", test, then, otherwise, line };
    line = current(stream).line;
  }
  return then;
}

/** A chain of operators of one precedence, from left to right. Each is one level deeper than the one before. */
function chain(
  stream: TokenStream,
  operand: () => Expression,
  join: (left: Expression, line: number) => Expression | null,
): Expression {
  const { depth } = stream;
  let { line } = current(stream);
  let left = operand();
  for (;;) {
    const joined = nested(stream, () => join(left, line));
    if (joined === null) break;
    stream.depth++;
    left = joined;
    line = current(stream).line;
  }
  stream.depth = depth;
  return left;
}

function parseOr(stream: TokenStream): Expression {
  return chain(
    stream,
    () => parseAnd(stream),
    (left, line) =>
      skipName(stream, "or")
        ? { type: "Logical", operator: "or", left, right: parseAnd(stream), line }
        : null,
  );
}

function parseAnd(stream: TokenStream): Expression {
  return chain(
    stream,
    () => parseNot(stream),
    (left, line) =>
      skipName(stream, "and")
        ? { type: "Logical", operator: "and", left, right: parseNot(stream), line }
        : null,
  );
}

function parseNot(stream: TokenStream): Expression {
  const { line } = current(stream);
  if (!skipName(stream, "not")) return parseCompare(stream);
  return nested(stream, () => ({ type: "Unary", operator: "not", node: parseNot(stream), line }));
}

const COMPARISONS: Partial<Record<TokenType, Comparison>> = {
  eq: "==",
  ne: "!=",
  lt: "<",
  lteq: "<=",
  gt: ">",
  gteq: ">=",
};

function parseCompare(stream: TokenStream): Expression {
  const { line } = current(stream);
  const node = parseSum(stream);
  const operands: { operator: Comparison | "in" | "not in"; node: Expression }[] = [];
  for (;;) {
    const comparison = COMPARISONS[current(stream).type];
    if (comparison !== undefined) {
      next(stream);
      operands.push({ operator: comparison, node: parseSum(stream) });
    } else if (skipName(stream, "in")) {
      operands.push({ operator: "in", node: parseSum(stream) });
    } else if (isName(current(stream), "not") && isName(look(stream), "in")) {
      next(stream);
      next(stream);
      operands.push({ operator: "not in", node: parseSum(stream) });
    } else {
      break;
    }
  }
  return operands.length === 0 ? node : { type: "Compare", node, operands, line };
}

const SUMS: Partial<Record<TokenType, ArithmeticOperator>> = { add: "+", sub: "-" };
const PRODUCTS: Partial<Record<TokenType, ArithmeticOperator>> = {
  mul: "*",
  div: "/",
  floordiv: "//",
  mod: "%",
};
const POWERS: Partial<Record<TokenType, ArithmeticOperator>> = { pow: "**" };

function parseBinary(
  stream: TokenStream,
  operators: Partial<Record<TokenType, ArithmeticOperator>>,
  operand: (stream: TokenStream) => Expression,
): Expression {
  return chain(stream, () => operand(stream), (left, line) => {
    const operator = operators[current(stream).type];
    if (operator === undefined) return null;
    next(stream);
    return { type: "Binary", operator, left, right: operand(stream), line };
  });
}

const parseSum = (stream: TokenStream): Expression => parseBinary(stream, SUMS, parseConcat);
const parseProduct = (stream: TokenStream): Expression => parseBinary(stream, PRODUCTS, parsePower);
const parsePower = (stream: TokenStream): Expression => parseBinary(stream, POWERS, parseUnary);

function parseConcat(stream: TokenStream): Expression {
  const { line } = current(stream);
  const first = parseProduct(stream);
  const nodes = [first];
  while (skip(stream, "tilde")) nodes.push(parseProduct(stream));
  return nodes.length === 1 ? first : { type: "Concat", nodes, line };
}

function parseUnary(stream: TokenStream, filters = true): Expression {
  const { type, line } = current(stream);
  let node: Expression;
  if (type === "sub" || type === "add") {
    next(stream);
    const operand = nested(stream, () => parseUnary(stream, false));
    node = { type: "Unary", operator: type === "sub" ? "-" : "+", node: operand, line };
  } else {
    node = parsePrimary(stream);
  }
  node = parsePostfix(stream, node);
  return filters ? parseFilters(stream, node) : node;
}

const CONSTANTS: Readonly<Record<string, boolean | null>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
};

/** A name, a literal, or something in brackets. With `namespaces`, `a.b` is a target of its own. */
function parsePrimary(stream: TokenStream, namespaces = false): Expression {
  const token = current(stream);
  const { line } = token;
  switch (token.type) {
    case "name": {
      next(stream);
      if (Object.hasOwn(CONSTANTS, token.text)) {
        return { type: "Constant", value: CONSTANTS[token.text] as boolean | null, line };
      }
      if (!namespaces || !skip(stream, "dot")) return { type: "Name", name: token.text, use: "load", line };
      return { type: "NamespaceTarget", name: token.text, attribute: expect(stream, "name").text, line };
    }
    case "string": {
      let text = "";
      while (current(stream).type === "string") text += next(stream).text;
      return { type: "Constant", value: text, line };
    }
    case "integer":
    case "float":
      next(stream);
      return { type: "Constant", value: token.value ?? null, line };
    case "lparen": {
      next(stream);
      const inside = nested(stream, () => parseTuple(stream, { explicit: true }));
      expect(stream, "rparen");
      return inside;
    }
    case "lbracket":
      return nested(stream, () => parseList(stream));
    case "lbrace":
      return nested(stream, () => parseDict(stream));
  }
  throw syntaxError(`unexpected '${describe(token)}'`, line);
}

/** How a tuple without brackets is read. */
export interface TupleOptions {
  /** Only names and literals. */
  readonly simple?: boolean;
  readonly conditional?: boolean;
  readonly namespaces?: boolean;
  /** Whether it stands in brackets, and may be empty. */
  readonly explicit?: boolean;
}

/**
 * One expression, or a tuple of several with commas between them. Jinja2 means to end one at `in` or `recursive` too, but
 * its test for that never holds: there both are names like any other.
 */
export function parseTuple(stream: TokenStream, options: TupleOptions = {}): Expression {
  let { line } = current(stream);
  const items: Expression[] = [];
  let isTuple = false;
  for (;;) {
    if (items.length > 0) expect(stream, "comma");
    const token = current(stream);
    if (["variable_end", "block_end", "rparen"].includes(token.type)) break;
    items.push(
      options.simple
        ? parsePrimary(stream, options.namespaces)
        : parseExpression(stream, options.conditional ?? true),
    );
    if (current(stream).type !== "comma") break;
    isTuple = true;
    line = current(stream).line;
  }
  if (!isTuple) {
    if (items[0] !== undefined) return items[0];
    if (options.explicit !== true) {
      throw syntaxError(`Expected an expression, got '${describe(current(stream))}'`, current(stream).line);
    }
  }
  return { type: "Tuple", items, line };
}

function parseList(stream: TokenStream): Expression {
  const { line } = expect(stream, "lbracket");
  const items: Expression[] = [];
  while (current(stream).type !== "rbracket") {
    if (items.length > 0) expect(stream, "comma");
    if (current(stream).type === "rbracket") break;
    items.push(parseExpression(stream));
  }
  expect(stream, "rbracket");
  return { type: "List", items, line };
}

function parseDict(stream: TokenStream): Expression {
  const { line } = expect(stream, "lbrace");
  const pairs: { key: Expression; value: Expression }[] = [];
  while (current(stream).type !== "rbrace") {
    if (pairs.length > 0) expect(stream, "comma");
    if (current(stream).type === "rbrace") break;
    const key = parseExpression(stream);
    expect(stream, "colon");
    pairs.push({ key, value: parseExpression(stream) });
  }
  expect(stream, "rbrace");
  return { type: "Dict", pairs, line };
}

/** Attributes, items and calls behind an expression. */
function parsePostfix(stream: TokenStream, first: Expression): Expression {
  const { depth } = stream;
  let node = first;
  for (;;) {
    const { type } = current(stream);
    if (type === "dot" || type === "lbracket") node = nested(stream, () => parseSubscript(stream, node));
    else if (type === "lparen") node = nested(stream, () => parseCall(stream, node));
    else break;
    stream.depth++;
  }
  stream.depth = depth;
  return node;
}

function parseFilters(stream: TokenStream, first: Expression): Expression {
  const { depth } = stream;
  let node = first;
  for (;;) {
    const token = current(stream);
    if (token.type === "pipe") node = nested(stream, () => parseFilter(stream, node));
    else if (isName(token, "is")) node = nested(stream, () => parseTest(stream, node));
    else if (token.type === "lparen") node = nested(stream, () => parseCall(stream, node));
    else break;
    stream.depth++;
  }
  stream.depth = depth;
  return node;
}

function parseSubscript(stream: TokenStream, node: Expression): Expression {
  const { type, line } = next(stream);
  if (type === "dot") {
    const attribute = next(stream);
    if (attribute.type === "name") return { type: "Attribute", node, name: attribute.text, line };
    if (attribute.type !== "integer") throw syntaxError("expected name or number", attribute.line);
    return { type: "Item", node, key: { type: "Constant", value: attribute.value ?? null, line }, line };
  }
  const keys: Expression[] = [];
  while (current(stream).type !== "rbracket") {
    if (keys.length > 0) expect(stream, "comma");
    keys.push(parseSubscribed(stream));
  }
  expect(stream, "rbracket");
  const [only] = keys;
  if (keys.length === 1 && only !== undefined) return { type: "Item", node, key: only, line };
  if (keys.some((key) => key.type === "Slice")) {
    throw syntaxError("invalid syntax: a slice within a tuple", line);
  }
  return { type: "Item", node, key: { type: "Tuple", items: keys, line }, line };
}

function parseSubscribed(stream: TokenStream): Expression | Slice {
  const { line } = current(stream);
  let start: Expression | null = null;
  if (!skip(stream, "colon")) {
    start = parseExpression(stream);
    if (!skip(stream, "colon")) return start;
  }
  const bound = () => {
    const { type } = current(stream);
    return type === "rbracket" || type === "comma" ? null : parseExpression(stream);
  };
  const stop = current(stream).type === "colon" ? null : bound();
  const step = skip(stream, "colon") ? bound() : null;
  return { type: "Slice", start, stop, step, line };
}

function parseArguments(stream: TokenStream): Arguments {
  const { line } = expect(stream, "lparen");
  const args: Expression[] = [];
  const keywords: { name: string; value: Expression }[] = [];
  let [starArgs, starKeywords]: (Expression | null)[] = [null, null];
  const ensure = (holds: boolean) => {
    if (!holds) throw syntaxError("invalid syntax for function call expression", line);
  };
  let comma = false;
  while (current(stream).type !== "rparen") {
    if (comma) {
      expect(stream, "comma");
      if (current(stream).type === "rparen") break;
    }
    comma = true;
    if (skip(stream, "mul")) {
      ensure(starArgs === null && starKeywords === null);
      starArgs = parseExpression(stream);
    } else if (skip(stream, "pow")) {
      ensure(starKeywords === null);
      starKeywords = parseExpression(stream);
    } else if (current(stream).type === "name" && look(stream).type === "assign") {
      ensure(starKeywords === null);
      const name = next(stream).text;
      next(stream);
      if (keywords.some((keyword) => keyword.name === name)) {
        throw syntaxError(`keyword argument repeated: ${name}`, line);
      }
      keywords.push({ name, value: parseExpression(stream) });
    } else {
      ensure(starArgs === null && starKeywords === null && keywords.length === 0);
      args.push(parseExpression(stream));
    }
  }
  expect(stream, "rparen");
  return { args, keywords, starArgs: starArgs ?? null, starKeywords: starKeywords ?? null };
}

const NO_ARGUMENTS: Arguments = { args: [], keywords: [], starArgs: null, starKeywords: null };

function parseCall(stream: TokenStream, node: Expression): Call {
  const { line } = current(stream);
  return { type: "Call", node, line, ...parseArguments(stream) };
}

/** `name.with.dots` of a filter or a test. */
function parseDottedName(stream: TokenStream): { name: string; line: number } {
  const { text, line } = expect(stream, "name");
  let name = text;
  while (skip(stream, "dot")) name += `.${expect(stream, "name").text}`;
  return { name, line };
}

/** `| filter | filter …` behind an expression. */
export function parseFilter(stream: TokenStream, first: Expression): Expression;
export function parseFilter(stream: TokenStream, first: Expression | null): Expression | null;
export function parseFilter(stream: TokenStream, first: Expression | null): Expression | null {
  const { depth } = stream;
  let node = first;
  while (skip(stream, "pipe")) {
    node = nested(stream, () => parseOneFilter(stream, node));
    stream.depth++;
  }
  stream.depth = depth;
  return node;
}

/** A filter without the bar before it, and those that follow. */
export function parseFilterChain(stream: TokenStream): Filter {
  return parseFilter(stream, parseOneFilter(stream, null)) as Filter;
}

function parseOneFilter(stream: TokenStream, node: Expression | null): Filter {
  const { name, line } = parseDottedName(stream);
  const given = current(stream).type === "lparen" ? parseArguments(stream) : NO_ARGUMENTS;
  return { type: "Filter", node, name, line, ...given };
}

const OPERAND_STARTS: readonly TokenType[] = [
  "name",
  "string",
  "integer",
  "float",
  "lparen",
  "lbracket",
  "lbrace",
];

function parseTest(stream: TokenStream, node: Expression): Expression {
  const { line } = expectName(stream, "is");
  const negated = skipName(stream, "not");
  const { name } = parseDottedName(stream);
  const token = current(stream);
  let given = NO_ARGUMENTS;
  if (token.type === "lparen") {
    given = parseArguments(stream);
  } else if (
    OPERAND_STARTS.includes(token.type) && !["else", "or", "and"].some((word) => isName(token, word))
  ) {
    if (isName(token, "is")) throw syntaxError("You cannot chain multiple tests with is", token.line);
    given = { ...NO_ARGUMENTS, args: [parsePostfix(stream, parsePrimary(stream))] };
  }
  const test: Expression = { type: "Test", node, name, line, ...given };
  return negated ? { type: "Unary", operator: "not", node: test, line } : test;
}
