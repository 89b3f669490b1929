// SPDX-License-Identifier: Apache-2.0
/** Calls of values. */
import { typeError } from "./errors.ts";
import { itemsOf } from "./iterate.ts";
import { spend } from "./meter.ts";
import { undefinedError } from "./undefined.ts";
import { Dict, type Keywords, textOf, typeName, type Value } from "./values.ts";

/** callee(*args, **keywords). @throws {JinjaError} When it cannot be called */
export function callValue(callee: Value, args: readonly Value[], keywords: Keywords): Value {
  spend(1);
  if (callee !== null && typeof callee === "object") {
    switch (callee.kind) {
      case "callable":
        return callee.call(args, keywords);
      case "thing":
        if (callee.call !== null) return callee.call(args, keywords);
        break;
      case "undefined":
        throw undefinedError(callee);
      case "loop":
        if (args.length !== 1 || keywords !== null) throw typeError("loop() takes one iterable");
        return callee.recurse(args[0] as Value);
    }
  }
  throw typeError(`'${typeName(callee)}' object is not callable`);
}

/** What `*value` adds to the arguments of a call. */
export function starArguments(value: Value): readonly Value[] {
  return itemsOf(value);
}

/** What `**value` adds to the keywords of a call. */
export function starKeywords(keywords: Map<string, Value>, value: Value): void {
  if (!(value instanceof Dict)) {
    throw typeError(`argument after ** must be a mapping, not ${typeName(value)}`);
  }
  for (const { items: [key, item] } of value.items()) {
    const name = textOf(key as Value);
    if (name === null) throw typeError("keywords must be strings");
    if (keywords.has(name)) throw typeError(`got multiple values for keyword argument '${name}'`);
    keywords.set(name, item as Value);
  }
}
