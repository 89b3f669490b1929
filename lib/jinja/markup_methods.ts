// SPDX-License-Identifier: Apache-2.0
/** Methods of a text that was made safe: those of str, whose texts are safe again, and whose arguments are escaped. */
import { unsupported } from "./errors.ts";
import { escapeValue } from "./html.ts";
import { itemsOf } from "./iterate.ts";
import { STRING_METHODS } from "./string_methods.ts";
import { stripTags } from "./strip_tags.ts";
import { Callable, List, Markup, Tuple, type Value } from "./values.ts";

/** Methods whose answer is not a text of the markup. */
const PLAIN = /^(is[a-z]+|r?find|r?index|count|startswith|endswith)$/;

export function markupMethod(markup: Markup, name: string): Value | undefined {
  if (name === "striptags") return new Callable(name, () => new Markup(stripTags(markup.text)));
  if (["format", "format_map", "unescape", "escape", "encode", "maketrans"].includes(name)) {
    return new Callable(name, () => {
      throw unsupported(`${name}() of a text that was made safe is not supported`);
    });
  }
  const method = STRING_METHODS.get(name);
  if (method === undefined) return undefined;
  return new Callable(name, (args, keywords) => {
    const result = method(markup.text, escapedArguments(name, args), keywords);
    return PLAIN.test(name) ? result : safe(result);
  });
}

function escapedArguments(name: string, args: readonly Value[]): readonly Value[] {
  const [first, second, ...rest] = args;
  switch (name) {
    case "join":
      return first === undefined ? args : [new List(itemsOf(first).map(escapeValue)), ...args.slice(1)];
    case "replace":
    case "ljust":
    case "rjust":
    case "center":
      return first === undefined || second === undefined ? args : [first, escapeValue(second), ...rest];
    default:
      return args;
  }
}

function safe(value: Value): Value {
  if (typeof value === "string") return new Markup(value);
  if (value instanceof List) return new List(value.items.map(safe));
  return value instanceof Tuple ? new Tuple(value.items.map(safe)) : value;
}
