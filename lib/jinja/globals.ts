// SPDX-License-Identifier: Apache-2.0
/** The functions that every template has: range, dict, namespace, cycler, joiner, raise_exception. */
import { bind, signature } from "./arguments.ts";
import { dictFromKeys } from "./container_methods.ts";
import { JinjaError, typeError, unsupported, valueError } from "./errors.ts";
import { itemsOf, unpack } from "./iterate.ts";
import { repr, str } from "./repr.ts";
import { isUndefined } from "./undefined.ts";
import {
  Callable,
  Dict,
  type Keywords,
  Namespace,
  Range,
  textOf,
  Thing,
  Tuple,
  typeName,
  type Value,
} from "./values.ts";

const MAX_RANGE = 100_000;

function range(args: readonly Value[], keywords: Keywords): Value {
  if (keywords !== null) throw typeError("range() takes no keyword arguments");
  if (args.length < 1 || args.length > 3) {
    throw typeError(
      `range expected ${args.length < 1 ? "at least 1 argument" : "at most 3 arguments"}, got ${args.length}`,
    );
  }
  const numbers = args.map((arg) => {
    if (typeof arg === "bigint") throw unsupported("range() of numbers beyond 2^53 is not supported");
    if (typeof arg !== "number" && typeof arg !== "boolean") {
      throw typeError(`'${typeName(arg)}' object cannot be interpreted as an integer`);
    }
    return Number(arg);
  });
  const [start, stop, step] = args.length === 1
    ? [0, numbers[0], 1]
    : [numbers[0], numbers[1], numbers[2] ?? 1];
  if (step === 0) throw valueError("range() arg 3 must not be zero");
  const made = new Range(start as number, stop as number, step as number);
  if (made.length > MAX_RANGE) {
    throw new JinjaError(
      "OverflowError",
      `Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`,
    );
  }
  return made;
}

/** dict(mapping or pairs, name=value, …). */
function makeDict(args: readonly Value[], keywords: Keywords, name = "dict"): Dict {
  if (args.length > 1) throw typeError(`${name} expected at most 1 argument, got ${args.length}`);
  const dict = new Dict();
  const [source] = args;
  if (source instanceof Dict) {
    for (const { items: [key, value] } of source.items()) dict.set(key as Value, value as Value);
  } else if (source !== undefined) {
    itemsOf(source).forEach((pair, i) => {
      const items = textOf(pair) === null ? itemsOf(pair) : [...textOf(pair) as string];
      if (items.length !== 2) {
        throw valueError(
          `dictionary update sequence element #${i} has length ${items.length}; 2 is required`,
        );
      }
      const [key, value] = unpack(new Tuple(items), 2);
      dict.set(key as Value, value as Value);
    });
  }
  for (const [key, value] of keywords ?? []) dict.set(key, value);
  return dict;
}

function namespace(args: readonly Value[], keywords: Keywords): Value {
  const made = new Namespace(new Map());
  for (const { items: [key, value] } of makeDict(args, keywords).items()) {
    const name = textOf(key as Value);
    if (name === null) throw unsupported("a namespace with keys that are no texts is not supported");
    setAttribute(made, name, value as Value);
  }
  return made;
}

/** Sets an attribute of a namespace. @throws {JinjaError} When its name starts with an underscore */
export function setAttribute({ attributes }: Namespace, name: string, value: Value): void {
  if (name.startsWith("_")) {
    throw new JinjaError(
      "SecurityError",
      "Chat templates cannot store underscore-prefixed attributes on a namespace, but got " +
        `${repr(name)}. Please rename the attribute.`,
    );
  }
  attributes.set(name, value);
}

function cycler(items: readonly Value[], keywords: Keywords): Value {
  if (keywords !== null) throw typeError("Cycler.__init__() got an unexpected keyword argument");
  if (items.length === 0) throw new JinjaError("RuntimeError", "at least one item has to be provided");
  let position = 0;
  const next = new Callable("next", () => {
    const item = items[position] as Value;
    position = (position + 1) % items.length;
    return item;
  }, "method");
  const reset = new Callable("reset", () => {
    position = 0;
    return null;
  }, "method");
  const get = (name: string): Value | undefined => {
    switch (name) {
      case "next":
        return next;
      case "reset":
        return reset;
      case "current":
        return items[position];
      case "items":
        return new Tuple(items);
      case "pos":
        return position;
      default:
        return undefined;
    }
  };
  return new Thing("utils.Cycler", get);
}

const JOINER = signature("Joiner.__init__(sep=)");

function joiner(args: readonly Value[], keywords: Keywords): Value {
  const [separator = ", "] = bind(JOINER, args, keywords);
  let used = false;
  const get = (name: string): Value | undefined =>
    name === "sep" ? separator : name === "used" ? used : undefined;
  return new Thing("utils.Joiner", get, () => {
    if (used) return separator;
    used = true;
    return "";
  });
}

const RAISE = signature("raise_exception(message)");

function raiseException(args: readonly Value[], keywords: Keywords): Value {
  const [message] = bind(RAISE, args, keywords);
  throw new JinjaError("TemplateError", isUndefined(message as Value) ? "" : str(message as Value));
}

const DICT = new Thing("TemplateDict", (name) => {
  if (name !== "fromkeys") return undefined;
  return new Callable(name, (args, keywords) => {
    const [keys, value] = bind(signature("fromkeys(/iterable, /value=)"), args, keywords);
    return dictFromKeys(keys as Value, value);
  });
}, makeDict);

/** Globals by name. `strftime_now` is not one: it looks at the clock, so who renders says what it gives. */
export const GLOBALS: ReadonlyMap<string, Value> = new Map<string, Value>([
  ["range", new Callable("safe_range", range, "function")],
  ["dict", DICT],
  ["namespace", new Callable("TemplateNamespace", namespace, "type")],
  ["cycler", new Callable("Cycler", cycler, "type")],
  ["joiner", new Callable("Joiner", joiner, "type")],
  ["raise_exception", new Callable("raise_exception", raiseException, "function")],
  [
    "lipsum",
    new Callable("lipsum", () => {
      throw unsupported("lipsum() is refused: the same data would give other tokens on every run");
    }, "function"),
  ],
]);
