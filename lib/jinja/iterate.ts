// SPDX-License-Identifier: Apache-2.0
/** Truth, length, iteration and unpacking of values. */
import { typeError, valueError } from "./errors.ts";
import { spend, spendItems } from "./meter.ts";
import { codePointLength, codePoints } from "./text.ts";
import { Stream, typeName, type Value } from "./values.ts";

/** bool(value). */
export function truth(value: Value): boolean {
  if (value === null) return false;
  if (typeof value !== "object") return Boolean(value);
  switch (value.kind) {
    case "float":
      return value.value !== 0;
    case "markup":
      return value.text !== "";
    case "list":
    case "tuple":
      return value.items.length > 0;
    case "dict":
      return value.size > 0;
    case "view":
      return value.dict.size > 0;
    case "range":
      return value.length > 0;
    case "undefined":
      return false;
    default:
      return true;
  }
}

/** len(value), or null when it has none. */
export function lengthOf(value: Value): number | null {
  if (typeof value === "string") return codePointLength(value);
  if (value === null || typeof value !== "object") return null;
  switch (value.kind) {
    case "markup":
      return codePointLength(value.text);
    case "list":
    case "tuple":
      return value.items.length;
    case "dict":
      return value.size;
    case "view":
      return value.dict.size;
    case "range":
    case "loop":
      return value.length;
    case "undefined":
      return 0;
    default:
      return null;
  }
}

/** len(value). @throws {JinjaError} When it has none */
export function requireLength(value: Value): number {
  const length = lengthOf(value);
  if (length === null) throw typeError(`object of type '${typeName(value)}' has no len()`);
  return length;
}

/** The items that iteration gives, or null when a value cannot be iterated over. A stream is used up. */
export function tryItems(value: Value): readonly Value[] | null {
  if (typeof value === "string") return codePoints(value);
  if (value === null || typeof value !== "object") return null;
  switch (value.kind) {
    case "list":
    case "tuple":
      return value.items;
    case "dict":
      spendItems(value.size);
      return value.keys();
    case "view":
      spendItems(value.dict.size);
      return value.list();
    case "markup":
      return codePoints(value.text);
    case "range":
      spendItems(value.length);
      return Array.from({ length: value.length }, (_, i) => value.start + i * value.step);
    case "undefined":
      return [];
    case "stream":
      return drain(value);
    default:
      return null;
  }
}

/** @throws {JinjaError} When a value cannot be iterated over */
export function itemsOf(value: Value): readonly Value[] {
  const items = tryItems(value);
  if (items === null) throw notIterable(value);
  return items;
}

function notIterable(value: Value): Error {
  if (typeof value === "object" && value?.kind === "loop") {
    return typeError("'loop' cannot be iterated over here: a loop over itself is not supported");
  }
  return typeError(`'${typeName(value)}' object is not iterable`);
}

/** What is left of a stream. */
export function drain(stream: Stream): Value[] {
  const items: Value[] = [];
  for (;;) {
    const { done, value } = stream.iterator.next();
    if (done) return items;
    spend(1);
    items.push(value);
  }
}

/** An iterator over a value, taking from a stream only what is asked for. */
export function iteratorOf(value: Value): Iterator<Value> {
  if (typeof value === "object" && value?.kind === "stream") return value.iterator;
  return itemsOf(value)[Symbol.iterator]();
}

/** reversed(value), or null when Python has none for it. */
export function reversedStream(value: Value): Stream | null {
  if (value === null || typeof value !== "object") return null;
  const backwards = (type: string, items: readonly Value[]) => {
    spendItems(items.length);
    return new Stream(type, items.toReversed()[Symbol.iterator]());
  };
  switch (value.kind) {
    case "list":
      return backwards("list_reverseiterator", value.items);
    case "tuple":
    case "undefined":
      return backwards("reversed", value.kind === "tuple" ? value.items : []);
    case "dict":
      return backwards("dict_reversekeyiterator", value.keys());
    case "view":
      return backwards("dict_reverse" + value.of.slice(0, -1) + "iterator", value.list());
    case "range":
      return backwards("range_iterator", itemsOf(value));
    default:
      return null;
  }
}

/** The values of a target with several names. @throws {JinjaError} When there are more or fewer */
export function unpack(value: Value, count: number): readonly Value[] {
  const items = typeof value === "object" && value?.kind === "undefined" ? [] : tryItems(value);
  if (items === null) throw typeError(`cannot unpack non-iterable ${typeName(value)} object`);
  if (items.length > count) throw valueError(`too many values to unpack (expected ${count})`);
  if (items.length < count) {
    throw valueError(`not enough values to unpack (expected ${count}, got ${items.length})`);
  }
  return items;
}
