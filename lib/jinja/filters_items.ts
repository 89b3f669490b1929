// SPDX-License-Identifier: Apache-2.0
/** Filters over lists, dicts and anything else that can be iterated over. */
import { attributeGetter, attributeGetters, ignoreCase } from "./attribute_path.ts";
import { onlyAttribute } from "./attributes.ts";
import { equal, lessThan } from "./compare.ts";
import { callByName, type Environment, type Operation, operation } from "./environment.ts";
import { JinjaError, typeError } from "./errors.ts";
import { drain, itemsOf, iteratorOf, requireLength, reversedStream, truth, tryItems } from "./iterate.ts";
import { spend, spendItems } from "./meter.ts";
import { indexOf } from "./numbers.ts";
import { binary } from "./operators.ts";
import { codePoints } from "./text.ts";
import { isUndefined, undefinedBecause, undefinedError } from "./undefined.ts";
import {
  Dict,
  hashKey,
  type Keywords,
  List,
  Markup,
  Stream,
  textOf,
  Tuple,
  typeName,
  type Value,
} from "./values.ts";

function generator(items: Generator<Value>): Stream {
  return new Stream("generator", items);
}

/** Items of what must be a dict. @throws {JinjaError} As Python does for what has no items() */
function dictItems(value: Value): readonly Tuple[] {
  if (isUndefined(value)) throw undefinedError(value);
  if (value instanceof Dict) return value.items();
  throw new JinjaError("AttributeError", `'${typeName(value)}' object has no attribute 'items'`);
}

/** Sorts by keys, stable in both directions as Python's sorted() is. */
function sortBy<T>(items: readonly T[], key: (item: T) => Value, reverse: boolean): T[] {
  const keyed = items.map((item) => ({ item, key: key(item) }));
  spendItems(keyed.length);
  const ordered = keyed.sort((a, b) => {
    spend(3);
    const [low, high] = reverse ? [b, a] : [a, b];
    return lessThan(low.key, high.key) ? -1 : lessThan(high.key, low.key) ? 1 : 0;
  });
  return ordered.map(({ item }) => item);
}

function isReversed(reverse: Value): boolean {
  return indexOf(reverse, `'${typeName(reverse)}' object cannot be interpreted as an integer`) !== 0;
}

const folded = (sensitive: Value) => truth(sensitive) ? (value: Value) => value : ignoreCase;

function dictSort(value: Value, sensitive: Value = false, by: Value = "key", reverse: Value = false): Value {
  if (by !== "key" && by !== "value") {
    throw new JinjaError("FilterArgumentError", 'You can only sort by either "key" or "value"');
  }
  const fold = folded(sensitive);
  const position = by === "key" ? 0 : 1;
  return new List(
    sortBy(dictItems(value), ({ items }) => fold(items[position] as Value), isReversed(reverse)),
  );
}

function sort(
  value: Value,
  reverse: Value = false,
  sensitive: Value = false,
  attribute: Value = null,
): Value {
  const getters = attributeGetters(attribute);
  const fold = folded(sensitive);
  return new List(sortBy(itemsOf(value), (item) => new List(getters(item).map(fold)), isReversed(reverse)));
}

function* unique(value: Value, sensitive: Value = false, attribute: Value = null): Generator<Value> {
  const getter = attributeGetter(attribute);
  const fold = folded(sensitive);
  const seen = new Set<unknown>();
  for (const item of { [Symbol.iterator]: () => iteratorOf(value) }) {
    const key = hashKey(fold(getter(item)));
    if (seen.has(key)) continue;
    seen.add(key);
    yield item;
  }
}

function extreme(name: "min" | "max"): (value: Value, ...rest: (Value | undefined)[]) => Value {
  return (value, sensitive = false, attribute = null) => {
    const getter = attributeGetter(attribute);
    const fold = folded(sensitive);
    const [first, ...rest] = itemsOf(value);
    if (first === undefined) return undefinedBecause("No aggregated item, sequence was empty.");
    let [best, bestKey] = [first, fold(getter(first))];
    for (const item of rest) {
      spend(1);
      const key = fold(getter(item));
      if (name === "min" ? lessThan(key, bestKey) : lessThan(bestKey, key)) [best, bestKey] = [item, key];
    }
    return best;
  };
}

function first(value: Value): Value {
  const { done, value: item } = iteratorOf(value).next();
  return done ? undefinedBecause("No first item, sequence was empty.") : item;
}

function last(value: Value): Value {
  const text = textOf(value);
  const items = text !== null ? codePoints(text).reverse() : null;
  if (items !== null) return items[0] ?? undefinedBecause("No last item, sequence was empty.");
  const stream = reversedStream(value);
  if (stream === null) throw typeError(`'${typeName(value)}' object is not reversible`);
  const { done, value: item } = stream.iterator.next();
  return done ? undefinedBecause("No last item, sequence was empty.") : item;
}

function reverse(value: Value): Value {
  const text = textOf(value);
  if (text !== null) {
    const backwards = codePoints(text).reverse().join("");
    return value instanceof Markup ? new Markup(backwards) : backwards;
  }
  const stream = reversedStream(value);
  if (stream !== null) return stream;
  const items = tryItems(value);
  if (items === null) throw new JinjaError("FilterArgumentError", "argument must be iterable");
  return new List(items.toReversed());
}

const NOT_INTEGER = "an integer is required";

function* batch(value: Value, size: Value | undefined, fill: Value = null): Generator<Value> {
  let row: Value[] = [];
  for (const item of { [Symbol.iterator]: () => iteratorOf(value) }) {
    if (equal(row.length, size as Value)) {
      yield new List(row);
      row = [];
    }
    row.push(item);
  }
  if (row.length === 0) return;
  if (fill !== null) {
    const width = indexOf(size as Value, NOT_INTEGER);
    spendItems(Math.max(0, width - row.length));
    while (row.length < width) row.push(fill);
  }
  yield new List(row);
}

function* slices(value: Value, count: Value | undefined, fill: Value = null): Generator<Value> {
  const items = itemsOf(value);
  const number = indexOf(count as Value, NOT_INTEGER);
  if (number === 0) throw new JinjaError("ZeroDivisionError", "integer division or modulo by zero");
  const size = Math.floor(items.length / number);
  const longer = items.length - size * number;
  let offset = 0;
  for (let i = 0; i < number; i++) {
    spend(1);
    const start = offset + i * size;
    if (i < longer) offset++;
    const slice = items.slice(start, offset + (i + 1) * size);
    yield new List(fill !== null && i >= longer ? [...slice, fill] : slice);
  }
}

function groupBy(
  value: Value,
  attribute: Value = null,
  otherwise: Value = null,
  sensitive: Value = false,
): Value {
  const getter = attributeGetter(attribute, otherwise);
  const fold = folded(sensitive);
  const ordered = sortBy(itemsOf(value), (item) => fold(getter(item)), false);
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of ordered) {
    const key = fold(getter(item));
    const group = groups.at(-1);
    if (group !== undefined && equal(group.key, key)) group.items.push(item);
    else groups.push({ key, items: [item] });
  }
  return new List(groups.map(({ items }) =>
    // the key as it is written in the first item of the group
    new Tuple([getter(items[0] as Value), new List(items)], ["grouper", "list"])
  ));
}

function sum(value: Value, attribute: Value = null, start: Value = 0): Value {
  const getter = attributeGetter(attribute);
  if (textOf(start) !== null) throw typeError("sum() can't sum strings [use ''.join(seq) instead]");
  let total = start;
  for (const item of itemsOf(value)) {
    spend(1);
    total = binary("+", total, getter(item));
  }
  return total;
}

function items(value: Value): Value {
  return generator(function* () {
    if (isUndefined(value)) return;
    if (!(value instanceof Dict)) throw typeError("Can only get item pairs from a mapping.");
    yield* value.items();
  }());
}

function map(value: Value, args: readonly Value[], keywords: Keywords, environment: Environment): Value {
  return generator(function* () {
    if (!truth(value)) return;
    const apply = mapper(args, keywords, environment);
    for (const item of { [Symbol.iterator]: () => iteratorOf(value) }) {
      spend(1);
      yield apply(item);
    }
  }());
}

function mapper(
  args: readonly Value[],
  keywords: Keywords,
  environment: Environment,
): (item: Value) => Value {
  if (args.length === 0 && keywords?.has("attribute")) {
    for (const name of keywords.keys()) {
      if (name !== "attribute" && name !== "default") {
        throw new JinjaError("FilterArgumentError", `Unexpected keyword argument '${name}'`);
      }
    }
    return attributeGetter(keywords.get("attribute") as Value, keywords.get("default") ?? null);
  }
  const [name, ...rest] = args;
  if (name === undefined) throw new JinjaError("FilterArgumentError", "map requires a filter argument");
  return (item) => callByName(environment, "filter", name, item, rest, keywords);
}

/** `select` and its sisters: keep the items (or those whose attribute) a test says yes to, or no. */
function selector(keeps: boolean, byAttribute: boolean): Operation {
  return (value, args, keywords, environment) =>
    generator(function* () {
      if (!truth(value)) return;
      const holds = predicate(byAttribute, args, keywords, environment);
      for (const item of { [Symbol.iterator]: () => iteratorOf(value) }) {
        spend(1);
        if (holds(item) === keeps) yield item;
      }
    }());
}

function predicate(
  byAttribute: boolean,
  args: readonly Value[],
  keywords: Keywords,
  environment: Environment,
): (item: Value) => boolean {
  let [get, rest] = [(item: Value) => item, args];
  if (byAttribute) {
    if (args[0] === undefined) {
      throw new JinjaError("FilterArgumentError", "Missing parameter for attribute name");
    }
    get = attributeGetter(args[0]);
    rest = args.slice(1);
  }
  const [name, ...operands] = rest;
  if (name === undefined) return (item) => truth(get(item));
  return (item) => truth(callByName(environment, "test", name, get(item), operands, keywords));
}

export const ITEM_FILTERS: readonly [string, Operation][] = [
  operation("length()", requireLength),
  operation("count()", requireLength),
  operation(
    "list()",
    (value) => new List(value instanceof Object && value.kind === "stream" ? drain(value) : itemsOf(value)),
  ),
  operation("first()", first),
  operation("last()", last),
  operation("reverse()", reverse),
  operation("items()", items),
  operation("dictsort(case_sensitive=, by=, reverse=)", dictSort),
  operation("sort(reverse=, case_sensitive=, attribute=)", sort),
  operation(
    "unique(case_sensitive=, attribute=)",
    (value, sensitive, attribute) => generator(unique(value, sensitive, attribute)),
  ),
  operation("min(case_sensitive=, attribute=)", extreme("min")),
  operation("max(case_sensitive=, attribute=)", extreme("max")),
  operation("batch(linecount, fill_with=)", (value, count, fill) => generator(batch(value, count, fill))),
  operation("slice(slices, fill_with=)", (value, count, fill) => generator(slices(value, count, fill))),
  operation("groupby(attribute, default=, case_sensitive=)", groupBy),
  operation("sum(attribute=, start=)", sum),
  operation("attr(name)", (value, name) => {
    const text = textOf(name as Value);
    if (text === null) throw typeError(`attribute name must be string, not '${typeName(name as Value)}'`);
    return onlyAttribute(value, text);
  }),
  ["map", map],
  ["select", selector(true, false)],
  ["reject", selector(false, false)],
  ["selectattr", selector(true, true)],
  ["rejectattr", selector(false, true)],
];
