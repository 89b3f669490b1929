// SPDX-License-Identifier: Apache-2.0
/** Python's binary and unary operators over any values. */
import { typeError, unsupported } from "./errors.ts";
import { escapeHtml } from "./html.ts";
import { checkLength, spendItems } from "./meter.ts";
import { arithmetic, type ArithmeticOperator, indexOf, negative, numberOf } from "./numbers.ts";
import { formatPercent } from "./percent_format.ts";
import { isUndefined, undefinedError } from "./undefined.ts";
import { isInteger, List, Markup, textOf, Tuple, typeName, type Value } from "./values.ts";

const NAMES: Readonly<Record<ArithmeticOperator, string>> = {
  "+": "+",
  "-": "-",
  "*": "*",
  "/": "/",
  "//": "//",
  "%": "%",
  "**": "** or pow()",
};

/** a (operator) b. @throws {JinjaError} When Python does not know it for these types */
export function binary(operator: ArithmeticOperator, a: Value, b: Value): Value {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== null && y !== null) return arithmetic(operator, x, y);
  if (isUndefined(a)) throw undefinedError(a);
  if (operator === "%") {
    const text = textOf(a);
    if (text !== null) return formatText(a, text, b);
  }
  if (isUndefined(b)) throw undefinedError(b);
  if (operator === "+") return add(a, b);
  if (operator === "*") return multiply(a, b);
  throw noOperator(operator, a, b);
}

function noOperator(operator: ArithmeticOperator, a: Value, b: Value): Error {
  if (operator === "-" && [a, b].some((side) => typeof side === "object" && side?.kind === "view")) {
    return unsupported(
      "differences of the keys of dicts are sets, which have no order of their own: not supported",
    );
  }
  return typeError(
    `unsupported operand type(s) for ${NAMES[operator]}: '${typeName(a)}' and '${typeName(b)}'`,
  );
}

/** a + b of what is not both numbers. */
export function add(a: Value, b: Value): Value {
  if (typeof a === "string" && typeof b === "string") {
    checkLength(a.length + b.length);
    return a + b;
  }
  if (a instanceof List && b instanceof List) {
    spendItems(a.items.length + b.items.length);
    return new List([...a.items, ...b.items]);
  }
  if (a instanceof Tuple && b instanceof Tuple) {
    spendItems(a.items.length + b.items.length);
    return new Tuple([...a.items, ...b.items]);
  }
  const [left, right] = [textOf(a), textOf(b)];
  if (left !== null && right !== null) { // one of them is Markup: the other is escaped
    return new Markup(
      (a instanceof Markup ? left : escapeHtml(left)) + (b instanceof Markup ? right : escapeHtml(right)),
    );
  }
  throw cannotAdd(a, b);
}

function cannotAdd(a: Value, b: Value): Error {
  if (typeof a === "string") {
    return typeError(`can only concatenate str (not "${typeName(b)}") to str`);
  }
  for (const [type, name] of [[List, "list"], [Tuple, "tuple"]] as const) {
    if (a instanceof type) return typeError(`can only concatenate ${name} (not "${typeName(b)}") to ${name}`);
  }
  return noOperator("+", a, b);
}

function multiply(a: Value, b: Value): Value {
  const [sequence, count] = isInteger(a) ? [b, a] : [a, b];
  const text = textOf(sequence);
  const items = sequence instanceof List || sequence instanceof Tuple ? sequence.items : null;
  if (text === null && items === null) throw noOperator("*", a, b);
  if (!isInteger(count)) {
    throw typeError(`can't multiply sequence by non-int of type '${typeName(count)}'`);
  }
  const times = Math.max(0, indexOf(count, ""));
  if (text !== null) {
    const repeated = repeat(text, times);
    return sequence instanceof Markup ? new Markup(repeated) : repeated;
  }
  const repeated = repeatItems(items as readonly Value[], times);
  return sequence instanceof List ? new List(repeated) : new Tuple(repeated);
}

/** text * times, within the limit of one string. */
export function repeat(text: string, times: number): string {
  if (text === "" || times <= 0) return "";
  checkLength(text.length * times);
  return text.repeat(times);
}

function repeatItems(items: readonly Value[], times: number): Value[] {
  if (items.length === 0) return [];
  spendItems(items.length * times);
  const repeated: Value[] = [];
  for (let i = 0; i < times; i++) for (const item of items) repeated.push(item);
  return repeated;
}

function formatText(format: Value, text: string, values: Value): Value {
  if (format instanceof Markup) {
    throw unsupported("% on a text that was made safe escapes what it puts in: not supported, use ~ or +");
  }
  return formatPercent(text, values);
}

/** -value or +value. */
export function unary(operator: "-" | "+", value: Value): Value {
  if (isUndefined(value)) throw undefinedError(value);
  const number = numberOf(value);
  if (number === null) throw typeError(`bad operand type for unary ${operator}: '${typeName(value)}'`);
  return operator === "-" ? negative(number) : number;
}
