// SPDX-License-Identifier: Apache-2.0
/** Python's ==, < and in. */
import { typeError, unsupported } from "./errors.ts";
import { itemsOf } from "./iterate.ts";
import { checkNesting, spend, spendCharacters, spendItems, spendText } from "./meter.ts";
import { numberLess, numberOf, numbersEqual } from "./numbers.ts";
import { compareText } from "./text.ts";
import {
  type Boxed,
  type Dict,
  type DictView,
  hashKey,
  List,
  textOf,
  Tuple,
  typeName,
  type Value,
} from "./values.ts";
import { isUndefined, undefinedError } from "./undefined.ts";

export type Comparison = "==" | "!=" | "<" | "<=" | ">" | ">=";

/** a == b. */
export function equal(a: Value, b: Value, level = 0): boolean {
  if (typeof a === "string" && typeof b === "string") return equalText(a, b);
  if (a === null || b === null) return a === b;
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== null || y !== null) return x !== null && y !== null && numbersEqual(x, y);
  const text = textOf(a);
  if (text !== null) {
    const other = textOf(b);
    return other !== null && equalText(text, other);
  }
  if (typeof a !== "object" || typeof b !== "object") return false;
  return a === b || equalBoxed(a, b, level);
}

/** Whether two texts are the same. */
export function equalText(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  spendText(a);
  return a === b;
}

function equalBoxed(a: Boxed, b: Boxed, level: number): boolean {
  checkNesting(level);
  spend(1);
  switch (a.kind) {
    case "list":
    case "tuple":
      return a.kind === b.kind && equalItems(a.items, b.items, level);
    case "dict":
      return b.kind === "dict" && equalDicts(a, b, level);
    case "undefined":
      return b.kind === "undefined";
    case "range":
      return b.kind === "range" && hashKey(a) === hashKey(b);
    case "view":
      return b.kind === "view" && equalViews(a, b);
    case "callable":
      if (b.kind === "callable" && a.name === b.name) {
        throw unsupported(`whether two functions named ${a.name} are the same is not known here`);
      }
      return false;
    default:
      return false;
  }
}

function equalItems(a: readonly Value[], b: readonly Value[], level: number): boolean {
  if (a.length !== b.length) return false;
  spendItems(a.length);
  return a.every((item, i) => equal(item, b[i] as Value, level + 1));
}

function equalDicts(a: Dict, b: Dict, level: number): boolean {
  if (a.size !== b.size) return false;
  spendItems(a.size);
  for (const [hash, value] of a.entries) {
    const other = b.get(hash);
    if (other === undefined || !equal(value, other, level + 1)) return false;
  }
  return true;
}

/** Views of keys and of items compare as sets; those of values only by identity. */
function equalViews(a: DictView, b: DictView): boolean {
  if (a.of === "values" || b.of === "values" || a.dict.size !== b.dict.size) return false;
  if (a.of !== b.of) return a.dict.size === 0;
  spendItems(a.dict.size);
  if (a.of === "keys") return [...a.dict.entries.keys()].every((hash) => b.dict.entries.has(hash));
  return equalDicts(a.dict, b.dict, 0);
}

/** a (operator) b. @throws {JinjaError} When Python has no order between them */
export function compare(operator: Comparison, a: Value, b: Value): boolean {
  switch (operator) {
    case "==":
      return equal(a, b);
    case "!=":
      return !equal(a, b);
    case "<":
      return less(a, b, operator, 0);
    case ">":
      return less(b, a, operator, 0);
    case "<=":
      return lessOrEqual(a, b, operator);
    case ">=":
      return lessOrEqual(b, a, operator);
  }
}

/** a < b. */
export function lessThan(a: Value, b: Value): boolean {
  return less(a, b, "<", 0);
}

function less(a: Value, b: Value, operator: Comparison, level: number): boolean {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== null && y !== null) return numberLess(x, y);
  const [left, right] = [textOf(a), textOf(b)];
  if (left !== null && right !== null) return compareText(left, right) < 0;
  const pair = sequences(a, b);
  if (pair === null) throw unordered(a, b, operator);
  return lessItems(pair[0], pair[1], operator, level, false);
}

function lessOrEqual(a: Value, b: Value, operator: Comparison): boolean {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (x !== null && y !== null) return numberLess(x, y) || numbersEqual(x, y);
  const [left, right] = [textOf(a), textOf(b)];
  if (left !== null && right !== null) return compareText(left, right) <= 0;
  const pair = sequences(a, b);
  if (pair === null) throw unordered(a, b, operator);
  return lessItems(pair[0], pair[1], operator, 0, true);
}

function sequences(a: Value, b: Value): [readonly Value[], readonly Value[]] | null {
  if (a instanceof List && b instanceof List) return [a.items, b.items];
  return a instanceof Tuple && b instanceof Tuple ? [a.items, b.items] : null;
}

/** Lists compare by their first items that differ. */
function lessItems(
  a: readonly Value[],
  b: readonly Value[],
  operator: Comparison,
  level: number,
  orEqual: boolean,
): boolean {
  checkNesting(level);
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    spend(1);
    const [x, y] = [a[i] as Value, b[i] as Value];
    if (equal(x, y, level + 1)) continue;
    if (!orEqual) return less(x, y, operator, level + 1);
    return compare("<=", x, y);
  }
  return orEqual ? a.length <= b.length : a.length < b.length;
}

function unordered(a: Value, b: Value, operator: Comparison): Error {
  // for > and >= the two were handed over in the other order
  const [left, right] = operator === ">" || operator === ">=" ? [b, a] : [a, b];
  for (const side of [left, right]) if (isUndefined(side)) return undefinedError(side);
  if (
    [left, right].every((side) => typeof side === "object" && side?.kind === "view" && side.of !== "values")
  ) {
    return unsupported(`comparing the keys of dicts by ${operator} is not supported`);
  }
  return typeError(
    `'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`,
  );
}

/** needle in haystack. */
export function contains(haystack: Value, needle: Value): boolean {
  const text = textOf(haystack);
  if (text !== null) {
    const part = textOf(needle);
    if (part === null) {
      throw typeError(`'in <string>' requires string as left operand, not ${typeName(needle)}`);
    }
    spendCharacters(text.length);
    return text.includes(part);
  }
  if (haystack === null || typeof haystack !== "object") throw notContainer(haystack);
  switch (haystack.kind) {
    case "dict":
      return haystack.entries.has(hashKey(needle));
    case "view":
      if (haystack.of === "keys") return haystack.dict.entries.has(hashKey(needle));
      if (haystack.of === "items") return itemInView(haystack.dict, needle);
      break;
    case "namespace":
    case "callable":
    case "thing":
      throw notContainer(haystack);
  }
  return includes(itemsOf(haystack), needle);
}

function itemInView(dict: Dict, needle: Value): boolean {
  if (!(needle instanceof Tuple) || needle.items.length !== 2) return false;
  const value = dict.get(hashKey(needle.items[0] as Value));
  return value !== undefined && equal(value, needle.items[1] as Value);
}

/** Whether a list has an item equal to another. */
export function includes(items: readonly Value[], needle: Value): boolean {
  spendItems(items.length);
  return items.some((item) => item === needle || equal(item, needle));
}

function notContainer(value: Value): Error {
  return typeError(`argument of type '${typeName(value)}' is not iterable`);
}
