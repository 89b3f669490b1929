// SPDX-License-Identifier: Apache-2.0
/** Expressions to closures: what a node is, is decided once, when the template is compiled. */
import type { Arguments, Call, Expression, Filter, Test } from "./ast.ts";
import { getAttribute, getItem, isDictAttribute } from "./attributes.ts";
import { callValue, starArguments, starKeywords } from "./call.ts";
import { compare, type Comparison, contains, equalText } from "./compare.ts";
import { type Compiler, nameValue, type Place } from "./compiler.ts";
import { constantValue, isConstant, isWritable, unwritableFloat } from "./constants.ts";
import { DICT_METHODS } from "./container_methods.ts";
import { JinjaError } from "./errors.ts";
import { ENVIRONMENT } from "./filters.ts";
import { truth } from "./iterate.ts";
import { checkLength, spend } from "./meter.ts";
import { arithmetic, numberOf } from "./numbers.ts";
import { add, binary, unary } from "./operators.ts";
import { repr, str } from "./repr.ts";
import type { Evaluate, Frame } from "./runtime.ts";
import { sliceOf } from "./slice.ts";
import { STRING_METHODS } from "./string_methods.ts";
import { PLAIN_TESTS } from "./tests.ts";
import { missingItem, undefinedBecause } from "./undefined.ts";
import { Dict, type Keywords, List, Tuple, type Value } from "./values.ts";

/** Compiles an expression. @throws {JinjaError} When it names a filter or a test that there is not */
export function compileExpression(compiler: Compiler, node: Expression, place: Place): Evaluate {
  const evaluate = compileNode(compiler, node, place);
  if (node.type === "Text" || node.type === "Constant" || node.type === "Slice" || !isConstant(node)) {
    return evaluate;
  }
  const value = constantValue(evaluate);
  if (value === undefined || !isWritable(value)) return evaluate;
  const name = unwritableFloat(value);
  if (name === null) return () => value;
  return () => {
    throw new JinjaError("NameError", `name '${name}' is not defined`);
  };
}

/** The text of a constant that is printed as it is, where inf and nan do no harm; null for what is not constant. */
export function constantText(compiler: Compiler, node: Expression, place: Place): string | null {
  if (node.type === "Text") return node.text;
  if (!isConstant(node)) return null;
  const value = constantValue(compileNode(compiler, node, place));
  return value === undefined || !isWritable(value) ? null : str(value);
}

function compileNode(compiler: Compiler, node: Expression, place: Place): Evaluate {
  const compile = (one: Expression) => compiler.expression(one, place);
  switch (node.type) {
    case "Text":
      return () => node.text;
    case "Constant":
      return () => node.value;
    case "Name":
      return nameValue(place, node.name, node.line);
    case "Tuple": {
      const items = node.items.map(compile);
      return (frame) => new Tuple(items.map((item) => item(frame)));
    }
    case "List": {
      const items = node.items.map(compile);
      return (frame) => new List(items.map((item) => item(frame)));
    }
    case "Dict":
      return compileDict(node.pairs.map(({ key, value }) => [compile(key), compile(value)]));
    case "Conditional":
      return compileConditional(compiler, node, place);
    case "Binary":
      if (node.operator === "**" && isConstant(node.left) && !isConstant(node.right)) {
        return compilePower(compile(node.left), compile(node.right));
      }
      return compileBinary(node.operator, compile(node.left), compile(node.right));
    case "Logical": {
      const [left, right] = [compile(node.left), compile(node.right)];
      const stops = node.operator === "or";
      return (frame) => {
        const value = left(frame);
        return truth(value) === stops ? value : right(frame);
      };
    }
    case "Unary": {
      const inner = compile(node.node);
      const { operator } = node;
      return operator === "not" ? (frame) => !truth(inner(frame)) : (frame) => unary(operator, inner(frame));
    }
    case "Compare":
      return compileCompare(
        compile(node.node),
        node.operands.map(({ operator, node: operand }) => ({ operator, operand: compile(operand) })),
      );
    case "Concat":
      return compileConcat(node.nodes.map(compile));
    case "Attribute":
      return compileAttribute(compile(node.node), node.name);
    case "Item":
      return compileItem(node, compile);
    case "Call":
      return compileCall(node, compile);
    case "Filter":
      return compileFilter(node, place, compile);
    case "Test":
      return compileTest(node, place, compile);
    case "Slice":
    case "NamespaceTarget":
      throw new JinjaError("TemplateSyntaxError", "invalid syntax", node.line);
  }
}

function compileDict(pairs: readonly (readonly [Evaluate, Evaluate])[]): Evaluate {
  return (frame) => {
    const dict = new Dict();
    for (const [key, value] of pairs) dict.set(key(frame), value(frame));
    return dict;
  };
}

function compileConditional(
  compiler: Compiler,
  node: Expression & { type: "Conditional" },
  place: Place,
): Evaluate {
  const soft = { ...place, soft: true };
  const [test, then] = [compiler.expression(node.test, soft), compiler.expression(node.then, soft)];
  if (node.otherwise === null) {
    const hint =
      `the inline if-expression on line ${node.line} evaluated to false and no else section was defined.`;
    return (frame) => truth(test(frame)) ? then(frame) : undefinedBecause(hint);
  }
  const otherwise = compiler.expression(node.otherwise, soft);
  return (frame) => truth(test(frame)) ? then(frame) : otherwise(frame);
}

function compileBinary(operator: Parameters<typeof binary>[0], left: Evaluate, right: Evaluate): Evaluate {
  if (operator === "+") {
    return (frame) => {
      const [a, b] = [left(frame), right(frame)];
      return typeof a === "string" && typeof b === "string" ? add(a, b) : binary("+", a, b);
    };
  }
  return (frame) => {
    const [a, b] = [left(frame), right(frame)];
    return typeof a === "number" && typeof b === "number"
      ? arithmetic(operator, a, b)
      : binary(operator, a, b);
  };
}

/** A constant to a power: Python's code has its minus before the power. */
function compilePower(base: Evaluate, exponent: Evaluate): Evaluate {
  const value = constantValue(base);
  const number = value === undefined ? null : numberOf(value);
  const isNegative = number !== null && repr(number).startsWith("-");
  return (frame) => {
    const right = exponent(frame);
    if (!isNegative) return binary("**", base(frame), right);
    return unary("-", binary("**", unary("-", number), right));
  };
}

type Operand = { readonly operator: Comparison | "in" | "not in"; readonly operand: Evaluate };

function compileCompare(first: Evaluate, operands: readonly Operand[]): Evaluate {
  const [only] = operands;
  if (operands.length === 1 && only !== undefined) {
    const { operator, operand } = only;
    switch (operator) {
      case "==":
        return (frame) => {
          const [a, b] = [first(frame), operand(frame)];
          return typeof a === "string" && typeof b === "string" ? equalText(a, b) : compare("==", a, b);
        };
      case "in":
      case "not in": {
        const wanted = operator === "in";
        return (frame) => {
          const needle = first(frame);
          return contains(operand(frame), needle) === wanted;
        };
      }
      default:
        return (frame) => {
          const a = first(frame);
          return compare(operator, a, operand(frame));
        };
    }
  }
  return (frame) => {
    let left = first(frame);
    for (const { operator, operand } of operands) {
      const right = operand(frame);
      if (!holds(operator, left, right)) return false;
      left = right;
    }
    return true;
  };
}

function holds(operator: Operand["operator"], left: Value, right: Value): boolean {
  if (operator === "in") return contains(right, left);
  return operator === "not in" ? !contains(right, left) : compare(operator, left, right);
}

function compileConcat(nodes: readonly Evaluate[]): Evaluate {
  return (frame) => {
    let text = "";
    for (const node of nodes) text += str(node(frame));
    checkLength(text.length);
    return text;
  };
}

function compileAttribute(owner: Evaluate, name: string): Evaluate {
  if (isDictAttribute(name)) return (frame) => getAttribute(owner(frame), name);
  return (frame) => {
    const value = owner(frame);
    if (!(value instanceof Dict)) return getAttribute(value, name);
    const item = value.get(name);
    return item === undefined ? missingItem(value, name) : item;
  };
}

function compileItem(
  { node, key }: Expression & { type: "Item" },
  compile: (node: Expression) => Evaluate,
): Evaluate {
  const owner = compile(node);
  if (key.type === "Slice") {
    const [start, stop, step] = [key.start, key.stop, key.step].map((bound) =>
      bound === null ? () => null : compile(bound)
    ) as [Evaluate, Evaluate, Evaluate];
    return (frame) => {
      const value = owner(frame);
      return sliceOf(value, { start: start(frame), stop: stop(frame), step: step(frame) });
    };
  }
  if (key.type === "Constant" && typeof key.value === "string") {
    const name = key.value;
    return (frame) => {
      const value = owner(frame);
      const item = value instanceof Dict ? value.get(name) : undefined;
      return item === undefined ? getItem(value, name) : item;
    };
  }
  const index = compile(key);
  return (frame) => {
    const value = owner(frame);
    return getItem(value, index(frame));
  };
}

type Bound = { readonly args: readonly Value[]; readonly keywords: Keywords };

/** Evaluates arguments in order, positional ones first. */
export function compileArguments(
  { args, keywords, starArgs, starKeywords: stars }: Arguments,
  compile: (node: Expression) => Evaluate,
): (frame: Frame) => Bound {
  const positional = args.map(compile);
  if (keywords.length === 0 && starArgs === null && stars === null) {
    if (positional.length === 0) {
      const none: Bound = { args: [], keywords: null };
      return () => none;
    }
    return (frame) => ({ args: positional.map((arg) => arg(frame)), keywords: null });
  }
  const named = keywords.map(({ name, value }) => [name, compile(value)] as const);
  const [more, moreNamed] = [starArgs, stars].map((node) => node === null ? null : compile(node));
  return (frame) => {
    const values = positional.map((arg) => arg(frame));
    const names = new Map<string, Value>();
    for (const [name, value] of named) names.set(name, value(frame));
    if (more) { for (const value of starArguments(more(frame))) values.push(value); }
    if (moreNamed) starKeywords(names, moreNamed(frame));
    return { args: values, keywords: names.size === 0 ? null : names };
  };
}

function compileCall(node: Call, compile: (node: Expression) => Evaluate): Evaluate {
  const bind = compileArguments(node, compile);
  const callee = node.node;
  if (callee.type === "Attribute") return compileMethodCall(compile(callee.node), callee.name, bind);
  const value = compile(callee);
  return (frame) => {
    const called = value(frame);
    const { args, keywords } = bind(frame);
    return callValue(called, args, keywords);
  };
}

/** A call of a method of a text or a dict makes no bound method first. */
function compileMethodCall(owner: Evaluate, name: string, bind: (frame: Frame) => Bound): Evaluate {
  const [ofText, ofDict] = [STRING_METHODS.get(name), DICT_METHODS.get(name)];
  return (frame) => {
    const value = owner(frame);
    if (ofText !== undefined && typeof value === "string") {
      const { args, keywords } = bind(frame);
      spend(1);
      return ofText(value, args, keywords);
    }
    if (ofDict !== undefined && value instanceof Dict) {
      const { args, keywords } = bind(frame);
      spend(1);
      return ofDict(value, args, keywords);
    }
    const called = getAttribute(value, name);
    const { args, keywords } = bind(frame);
    return callValue(called, args, keywords);
  };
}

/** A filter over a value, or over the text of a block when `input` is given. */
export function compileFilter(
  node: Filter,
  place: Place,
  compile: (node: Expression) => Evaluate,
  input: Evaluate | null = null,
): Evaluate {
  const inner = node.node === null
    ? input
    : node.node.type === "Filter" && input !== null
    ? compileFilter(node.node, place, compile, input)
    : compile(node.node);
  if (inner === null) throw new JinjaError("TemplateSyntaxError", "a filter without a value", node.line);
  const filter = ENVIRONMENT.filters.get(node.name);
  if (filter === undefined) return unknownOperation("filter", node, place);
  const bind = compileArguments(node, compile);
  return (frame) => {
    const value = inner(frame);
    const { args, keywords } = bind(frame);
    spend(1);
    return filter(value, args, keywords, ENVIRONMENT);
  };
}

function compileTest(node: Test, place: Place, compile: (node: Expression) => Evaluate): Evaluate {
  const inner = compile(node.node);
  const test = ENVIRONMENT.tests.get(node.name);
  if (test === undefined) return unknownOperation("test", node, place);
  const plain = PLAIN_TESTS.get(node.name);
  const isPlain = node.args.length === 0 && node.keywords.length === 0 && node.starArgs === null &&
    node.starKeywords === null;
  if (plain !== undefined && isPlain) return (frame) => plain(inner(frame));
  const bind = compileArguments(node, compile);
  return (frame) => {
    const value = inner(frame);
    const { args, keywords } = bind(frame);
    spend(1);
    return test(value, args, keywords, ENVIRONMENT);
  };
}

/** Fails at once; within an if only when it is reached, as a template may ask `is filter` first. */
function unknownOperation(
  kind: "filter" | "test",
  { name, line }: { name: string; line: number },
  { soft }: Place,
): Evaluate {
  const reason = kind === "filter" ? ENVIRONMENT.refused.get(name) : undefined;
  const error = () =>
    reason !== undefined
      ? new JinjaError("UnsupportedError", reason, line)
      : new JinjaError("TemplateAssertionError", `No ${kind} named '${name}'.`, line);
  if (!soft) throw error();
  return () => {
    throw error();
  };
}
