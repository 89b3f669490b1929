// SPDX-License-Identifier: Apache-2.0
/**
 * `a.b` and `a[b]` as the immutable sandbox of Jinja2 looks them up: an attribute or an item, never one that starts with
 * an underscore, never a method that would change a list or a dict.
 */
import { DICT_METHODS, LIST_METHODS, TUPLE_METHODS, viewAttribute } from "./container_methods.ts";
import { typeError, unsupported } from "./errors.ts";
import { markupMethod } from "./markup_methods.ts";
import { spendCharacters } from "./meter.ts";
import { numberAttribute, rangeAttribute } from "./number_methods.ts";
import { formatText } from "./string_format.ts";
import { STRING_METHODS } from "./string_methods.ts";
import { hasSurrogates } from "./text.ts";
import { makeTable } from "./translate.ts";
import { missingItem, undefinedError } from "./undefined.ts";
import { Callable, Dict, hashKey, List, Markup, textOf, typeName, Undefined, type Value } from "./values.ts";

/** What every object of Python has. Names of no sandboxed use, but they hide the items of a dict. */
const OBJECT_ATTRIBUTES = new Set(
  ("class delattr dir doc eq format ge getattribute getstate gt hash init init_subclass le lt ne new reduce reduce_ex " +
    "repr setattr sizeof str subclasshook").split(" ").map((name) => `__${name}__`),
);
const DICT_ATTRIBUTES = new Set(
  "class_getitem contains delitem getitem ior iter len or reversed ror setitem".split(" ").map((name) =>
    `__${name}__`
  ),
);

/** Methods that change what they belong to: refused. */
const MUTATING = {
  dict: new Set(["clear", "pop", "popitem", "setdefault", "update"]),
  list: new Set(["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"]),
};

const UNSAFE = Symbol("unsafe");

/** Whether a dict has an attribute of a name, so that `d.name` is not its item. */
export function isDictAttribute(name: string): boolean {
  return DICT_METHODS.has(name) || MUTATING.dict.has(name) || OBJECT_ATTRIBUTES.has(name) ||
    DICT_ATTRIBUTES.has(name);
}

/** getattr(value, name): undefined when there is none, UNSAFE when the sandbox keeps it back. */
function rawAttribute(value: Value, name: string): Value | undefined | typeof UNSAFE {
  if (OBJECT_ATTRIBUTES.has(name)) return UNSAFE;
  if (value === null) return undefined;
  if (typeof value === "string") return stringAttribute(value, name);
  if (typeof value !== "object") return numberAttribute(value, name);
  switch (value.kind) {
    case "markup":
      return markupMethod(value, name);
    case "float":
      return numberAttribute(value, name);
    case "dict": {
      if (MUTATING.dict.has(name) || DICT_ATTRIBUTES.has(name)) return UNSAFE;
      const method = DICT_METHODS.get(name);
      return method && new Callable(name, (args, keywords) => method(value, args, keywords));
    }
    case "list": {
      if (MUTATING.list.has(name)) return UNSAFE;
      const method = LIST_METHODS.get(name);
      return method && new Callable(name, (args, keywords) => method(value, args, keywords));
    }
    case "tuple": {
      const field = value.names.indexOf(name);
      if (field >= 0) return value.items[field];
      const method = TUPLE_METHODS.get(name);
      return method && new Callable(name, (args, keywords) => method(value, args, keywords));
    }
    case "range":
      return rangeAttribute(value, name);
    case "view":
      return viewAttribute(value, name);
    case "undefined":
      return undefinedAttribute(value, name);
    case "namespace":
      return value.attributes.get(name);
    case "loop":
    case "thing":
      return value.get(name);
    default:
      return undefined;
  }
}

function stringAttribute(text: string, name: string): Value | undefined {
  const method = STRING_METHODS.get(name);
  if (method !== undefined) return new Callable(name, (args, keywords) => method(text, args, keywords));
  if (name === "format" || name === "format_map") return new Callable(name, formatter(text, name));
  if (name === "maketrans") return new Callable(name, makeTable);
  if (name === "encode") {
    return new Callable(name, () => {
      throw unsupported("encode() gives bytes, which templates here do not have");
    });
  }
  return undefined;
}

/** str.format and str.format_map, whose fields are looked up as templates do. */
function formatter(text: string, name: string): Callable["call"] {
  const lookups = { getAttribute, getItem };
  if (name === "format") return (args, keywords) => formatText(text, args, keywords, lookups);
  return (args, keywords) => {
    if (keywords !== null) throw typeError("format_map() takes no keyword arguments");
    if (args.length !== 1) throw typeError(`format_map() takes exactly one argument (${args.length} given)`);
    return formatText(text, [], args[0] as Value, lookups);
  };
}

const UNDEFINED_ATTRIBUTES = new Set(
  ("add aiter bool call complex div float floordiv getattr getitem int iter len mod module mul neg pos pow radd rdiv " +
    "rfloordiv rmod rmul rpow rsub rtruediv slots sub truediv").split(" ").map((name) => `__${name}__`),
);

/** Anything but what every undefined value has fails. */
function undefinedAttribute(value: Undefined, name: string): typeof UNSAFE {
  if (UNDEFINED_ATTRIBUTES.has(name) || /^_(undefined_\w+|fail_with_undefined_error)$/.test(name)) {
    return UNSAFE;
  }
  throw undefinedError(value);
}

function unsafe(value: Value, name: string): Undefined {
  const hint = `access to attribute '${name}' of '${typeName(value)}' object is unsafe.`;
  return new Undefined(hint, value, name, "SecurityError");
}

/** value.name: the attribute, else the item. */
export function getAttribute(value: Value, name: string): Value {
  const found = rawAttribute(value, name);
  if (found === UNSAFE) return unsafe(value, name);
  if (found !== undefined) return found;
  const entry = item(value, name);
  return entry !== undefined ? entry : missingItem(value, name);
}

/** The attribute of a name and nothing else, as the filter `attr` gives it. */
export function onlyAttribute(value: Value, name: string): Value {
  const found = rawAttribute(value, name);
  if (found === UNSAFE) return unsafe(value, name);
  return found !== undefined ? found : missingItem(value, name);
}

/** value[key]: the item, else the attribute. */
export function getItem(value: Value, key: Value): Value {
  const found = item(value, key);
  if (found !== undefined) return found;
  const name = textOf(key);
  if (name === null) return missingItem(value, key);
  const attribute = rawAttribute(value, name);
  if (attribute === UNSAFE) return unsafe(value, name);
  return attribute !== undefined ? attribute : missingItem(value, key);
}

/** value[key]; undefined where Python raises a TypeError or a LookupError. */
function item(value: Value, key: Value): Value | undefined {
  if (value === null) return undefined;
  if (typeof value === "string") return characterAt(value, key);
  if (typeof value !== "object") return undefined;
  switch (value.kind) {
    case "dict":
      return isHashable(key) ? value.get(hashKey(key)) : undefined;
    case "list":
    case "tuple": {
      const index = position(key, value.items.length);
      return index === null ? undefined : value.items[index];
    }
    case "markup": {
      const character = characterAt(value.text, key);
      return character === undefined ? undefined : new Markup(character);
    }
    case "range": {
      const index = position(key, value.length);
      return index === null ? undefined : value.start + index * value.step;
    }
    case "undefined":
      throw undefinedError(value);
    default:
      return undefined;
  }
}

function isHashable(key: Value): boolean {
  if (key === null || typeof key !== "object") return true;
  if (key.kind === "tuple") return key.items.every(isHashable);
  return !(key instanceof List || key instanceof Dict || (key.kind === "view" && key.of !== "values"));
}

/** An index from the start; null when it is none, or beyond. */
function position(key: Value, length: number): number | null {
  const index = typeof key === "boolean" ? Number(key) : key;
  if (typeof index !== "number") return null;
  const from = index < 0 ? index + length : index;
  return from >= 0 && from < length ? from : null;
}

function characterAt(text: string, key: Value): string | undefined {
  if (typeof key !== "number" && typeof key !== "boolean") return undefined;
  if (!hasSurrogates(text)) {
    const index = position(key, text.length);
    return index === null ? undefined : text[index];
  }
  spendCharacters(text.length);
  const points = Array.from(text);
  const index = position(key, points.length);
  return index === null ? undefined : points[index];
}
