// SPDX-License-Identifier: Apache-2.0
/** Statements: template text to a tree, with the tags that transformers' environment has. */
import {
  type Block,
  descendants,
  type Expression,
  type For,
  type If,
  type Name,
  type Statement,
} from "./ast.ts";
import { unsupported } from "./errors.ts";
import { tokenize } from "./lexer.ts";
import { parseExpression, parseFilter, parseFilterChain, parseTuple } from "./parse_expression.ts";
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
import { syntaxError } from "./tokens.ts";

/** @throws {JinjaError} A syntax error with its line */
export function parseTemplate(source: string): Statement[] {
  const stream: TokenStream = { tokens: tokenize(source), at: 0, openTags: [], endTags: [], depth: 0 };
  return parseBody(stream, null);
}

/** Statements and text up to one of the end tags, which stays; or to the end. */
function parseBody(stream: TokenStream, ends: readonly string[] | null): Statement[] {
  const body: Statement[] = [];
  let printed: Expression[] = [];
  const flush = () => {
    if (printed[0] !== undefined) body.push({ type: "Output", nodes: printed, line: printed[0].line });
    printed = [];
  };
  if (ends !== null) stream.endTags.push(ends);
  for (;;) {
    const token = current(stream);
    if (token.type === "eof") break;
    next(stream);
    if (token.type === "data") {
      printed.push({ type: "Text", text: token.text, line: token.line });
    } else if (token.type === "variable_begin") {
      printed.push(parseTuple(stream));
      expect(stream, "variable_end");
    } else {
      flush();
      if (ends?.some((end) => isName(current(stream), end))) break;
      body.push(nested(stream, () => parseStatement(stream)));
      expect(stream, "block_end");
    }
  }
  flush();
  if (ends !== null) stream.endTags.pop();
  return body;
}

/** The body of a tag, from the end of the tag to one of the end tags. */
function parseUntil(stream: TokenStream, ...ends: readonly string[]): Statement[] {
  skip(stream, "colon");
  expect(stream, "block_end");
  const body = parseBody(stream, ends);
  if (current(stream).type === "eof") throw unknownTag(stream, null, [...stream.endTags, ends]);
  return body;
}

/** The same, going over the end tag's name. */
function parseThrough(stream: TokenStream, end: string): Statement[] {
  const body = parseUntil(stream, end);
  next(stream);
  return body;
}

function unknownTag(stream: TokenStream, name: string | null, ends: readonly (readonly string[])[]): Error {
  const looking = ends.at(-1)?.map((end) => `'${end}'`).join(" or ");
  let message = name === null ? "Unexpected end of template." : `Encountered unknown tag '${name}'.`;
  if (looking !== undefined) {
    message += name !== null && ends.flat().includes(name)
      ? " You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for" +
        ` ${looking}.`
      : ` Jinja was looking for the following tags: ${looking}.`;
  }
  const innermost = stream.openTags.at(-1);
  if (innermost !== undefined) message += ` The innermost block that needs to be closed is '${innermost}'.`;
  return syntaxError(message, current(stream).line);
}

const PARSERS: Readonly<Record<string, (stream: TokenStream, line: number) => Statement>> = {
  for: parseFor,
  if: parseIf,
  set: parseSet,
  macro: parseMacro,
  call: parseCallBlock,
  filter: (stream, line) => ({
    type: "FilterBlock",
    line,
    filter: parseFilterChain(stream),
    body: parseThrough(stream, "endfilter"),
  }),
  with: parseWith,
  block: parseBlock,
  print: parsePrint,
  autoescape: parseAutoescape,
  extends: parseOtherTemplate,
  include: parseOtherTemplate,
  import: parseOtherTemplate,
  from: parseOtherTemplate,
  generation: (stream, line) => ({
    type: "CallBlock",
    line,
    call: null,
    parameters: [],
    defaults: [],
    body: parseThrough(stream, "endgeneration"),
  }),
  break: (_, line) => ({ type: "Break", line }),
  continue: (_, line) => ({ type: "Continue", line }),
};

function parseStatement(stream: TokenStream): Statement {
  const token = current(stream);
  if (token.type !== "name") throw syntaxError("tag name expected", token.line);
  const parse = Object.hasOwn(PARSERS, token.text) ? PARSERS[token.text] : undefined;
  if (parse === undefined) throw unknownTag(stream, token.text, stream.endTags);
  stream.openTags.push(token.text);
  next(stream);
  const statement = parse(stream, token.line);
  stream.openTags.pop();
  return statement;
}

function parseFor(stream: TokenStream, line: number): For {
  const target = parseTarget(stream);
  expectName(stream, "in");
  const items = parseTuple(stream, { conditional: false });
  const test = skipName(stream, "if") ? parseExpression(stream) : null;
  const recursive = skipName(stream, "recursive");
  const body = parseUntil(stream, "endfor", "else");
  const otherwise = next(stream).text === "endfor" ? [] : parseThrough(stream, "endfor");
  const loop: For = { type: "For", target, items, body, otherwise, test, recursive, line };
  for (const node of descendants([loop])) {
    if (node.type === "Name" && node.use === "store" && node.name === "loop") {
      throw syntaxError("Can't assign to special loop variable in for-loop target", node.line);
    }
  }
  return loop;
}

function parseIf(stream: TokenStream, line: number): If {
  const branch = (at: number) => ({
    type: "If" as const,
    test: parseTuple(stream, { conditional: false }),
    body: parseUntil(stream, "elif", "else", "endif"),
    line: at,
  });
  const first = branch(line);
  const elifs: If[] = [];
  let otherwise: Statement[] = [];
  for (;;) {
    const end = next(stream);
    if (end.text === "elif") {
      elifs.push({ ...branch(end.line), elifs: [], otherwise: [] });
      continue;
    }
    if (end.text === "else") otherwise = parseThrough(stream, "endif");
    return { ...first, elifs, otherwise };
  }
}

function parseSet(stream: TokenStream, line: number): Statement {
  const target = parseTarget(stream, { namespaces: true });
  if (skip(stream, "assign")) return { type: "Assign", target, node: parseTuple(stream), line };
  const filter = parseFilter(stream, null);
  return {
    type: "AssignBlock",
    target,
    filter: filter?.type === "Filter" ? filter : null,
    body: parseThrough(stream, "endset"),
    line,
  };
}

/** What is assigned to: names, tuples of them, attributes of namespaces. */
function parseTarget(stream: TokenStream, options: { namespaces?: boolean } = {}): Expression {
  const { line } = current(stream);
  const target = parseTuple(stream, { ...options, simple: true });
  for (const node of descendants([target])) if (node.type === "Name") node.use = "store";
  if (!isAssignable(target)) {
    throw syntaxError(`can't assign to '${PYTHON_NAMES[target.type] ?? target.type.toLowerCase()}'`, line);
  }
  return target;
}

const PYTHON_NAMES: Readonly<Record<string, string>> = { Constant: "const" };

function isAssignable(target: Expression): boolean {
  if (target.type === "Tuple") return target.items.every(isAssignable);
  return target.type === "Name" || target.type === "NamespaceTarget";
}

function parseName(stream: TokenStream, use: "store" | "param"): Name {
  const { text, line } = expect(stream, "name");
  if (["true", "false", "none", "True", "False", "None"].includes(text)) {
    throw syntaxError("can't assign to 'name'", line);
  }
  return { type: "Name", name: text, use, line };
}

/** Parameters in brackets, the last ones perhaps with defaults. */
function parseSignature(stream: TokenStream): { parameters: Name[]; defaults: Expression[] } {
  const parameters: Name[] = [];
  const defaults: Expression[] = [];
  expect(stream, "lparen");
  while (current(stream).type !== "rparen") {
    if (parameters.length > 0) expect(stream, "comma");
    const parameter = parseName(stream, "param");
    if (parameters.some(({ name }) => name === parameter.name)) {
      throw syntaxError(`duplicate argument '${parameter.name}' in function definition`, parameter.line);
    }
    if (skip(stream, "assign")) defaults.push(parseExpression(stream));
    else if (defaults.length > 0) {
      throw syntaxError("non-default argument follows default argument", current(stream).line);
    }
    parameters.push(parameter);
  }
  expect(stream, "rparen");
  return { parameters, defaults };
}

function parseMacro(stream: TokenStream, line: number): Statement {
  const { name } = parseName(stream, "store");
  return { type: "Macro", name, ...parseSignature(stream), body: parseThrough(stream, "endmacro"), line };
}

function parseCallBlock(stream: TokenStream, line: number): Statement {
  const signature = current(stream).type === "lparen"
    ? parseSignature(stream)
    : { parameters: [], defaults: [] };
  const call = parseExpression(stream);
  if (call.type !== "Call") throw syntaxError("expected call", line);
  return { type: "CallBlock", call, ...signature, body: parseThrough(stream, "endcall"), line };
}

function parseWith(stream: TokenStream, line: number): Statement {
  const targets: Expression[] = [];
  const values: Expression[] = [];
  while (current(stream).type !== "block_end") {
    if (targets.length > 0) expect(stream, "comma");
    const target = parseTarget(stream);
    for (const node of descendants([target])) if (node.type === "Name") node.use = "param";
    targets.push(target);
    expect(stream, "assign");
    values.push(parseExpression(stream));
  }
  return { type: "With", targets, values, body: parseThrough(stream, "endwith"), line };
}

function parseBlock(stream: TokenStream, line: number): Block {
  const name = expect(stream, "name").text;
  const scoped = skipName(stream, "scoped");
  const required = skipName(stream, "required");
  if (current(stream).type === "sub") {
    throw syntaxError(
      "Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore instead.",
      current(stream).line,
    );
  }
  const body = parseThrough(stream, "endblock");
  const blank = (node: Expression) => node.type === "Text" && node.text.trim() === "";
  if (required && !body.every((node) => node.type === "Output" && node.nodes.every(blank))) {
    throw syntaxError("Required blocks can only contain comments or whitespace", current(stream).line);
  }
  skipName(stream, name);
  return { type: "Block", name, body, scoped, required, line };
}

function parsePrint(stream: TokenStream, line: number): Statement {
  const nodes: Expression[] = [];
  while (current(stream).type !== "block_end") {
    if (nodes.length > 0) expect(stream, "comma");
    nodes.push(parseExpression(stream));
  }
  return { type: "Output", nodes, line };
}

function parseAutoescape(stream: TokenStream, line: number): Statement {
  const option = parseExpression(stream);
  if (option.type !== "Constant" || option.value !== false) {
    const error = unsupported(
      "{% autoescape %} other than false is not supported: chat templates are not HTML",
    );
    throw Object.assign(error, { line });
  }
  return { type: "Scope", body: parseThrough(stream, "endautoescape"), line };
}

/** extends, include, import and from: read whole, and refused when they are reached, as there is no other template. */
function parseOtherTemplate(stream: TokenStream, line: number): Statement {
  const tag = stream.openTags.at(-1) as string;
  const template = parseExpression(stream);
  const targets: string[] = [];
  if (tag === "import") {
    expectName(stream, "as");
    targets.push(parseName(stream, "store").name);
  } else if (tag === "from") {
    expectName(stream, "import");
    parseImportedNames(stream, targets);
  } else if (tag === "include" && isName(current(stream), "ignore") && isName(look(stream), "missing")) {
    next(stream);
    next(stream);
  }
  if (tag !== "extends") skipContext(stream);
  return { type: "OtherTemplate", tag, template, targets, line };
}

/** `with context` or `without context`. */
function skipContext(stream: TokenStream): boolean {
  const token = current(stream);
  if (!(isName(token, "with") || isName(token, "without")) || !isName(look(stream), "context")) return false;
  next(stream);
  next(stream);
  return true;
}

function parseImportedNames(stream: TokenStream, targets: string[]): void {
  for (;;) {
    if (targets.length > 0) expect(stream, "comma");
    if (skipContext(stream)) return;
    const { name, line } = parseName(stream, "store");
    if (name.startsWith("_")) throw syntaxError("names starting with an underline can not be imported", line);
    targets.push(skipName(stream, "as") ? parseName(stream, "store").name : name);
    if (current(stream).type !== "comma") return;
  }
}
