// SPDX-License-Identifier: Apache-2.0
/** The methods of dict, list, tuple and dict views that change nothing. */
import { bind, signature } from "./arguments.ts";
import { equal, includes } from "./compare.ts";
import { typeError, unsupported, valueError } from "./errors.ts";
import { itemsOf } from "./iterate.ts";
import { spendItems } from "./meter.ts";
import { indexOf } from "./numbers.ts";
import { repr } from "./repr.ts";
import { Callable, Dict, DictView, hashKey, type Keywords, List, type Tuple, type Value } from "./values.ts";

type Method<T> = (self: T, args: readonly Value[], keywords: Keywords) => Value;

/** A method that is handed its arguments in order. */
function method<T>(
  declaration: string,
  run: (self: T, ...values: (Value | undefined)[]) => Value,
): [string, Method<T>] {
  const declared = signature(declaration);
  return [declared.name, (self, args, keywords) => run(self, ...bind(declared, args, keywords))];
}

export const DICT_METHODS: ReadonlyMap<string, Method<Dict>> = new Map([
  method<Dict>("keys()", (dict) => new DictView("keys", dict)),
  method<Dict>("values()", (dict) => new DictView("values", dict)),
  method<Dict>("items()", (dict) => new DictView("items", dict)),
  method<Dict>("get(/key, /default=)", (dict, key, otherwise) => {
    const found = dict.get(hashKey(key as Value));
    return found !== undefined ? found : otherwise ?? null;
  }),
  method<Dict>("copy()", copyDict),
  method<Dict>("fromkeys(/iterable, /value=)", (_, keys, value) => dictFromKeys(keys as Value, value)),
]);

/** A new dict with the same entries. */
function copyDict(dict: Dict): Dict {
  spendItems(dict.size);
  const copy = new Dict();
  for (const [hash, value] of dict.entries) copy.set(dict.keyOf(hash), value);
  return copy;
}

/** dict.fromkeys(keys, value). */
export function dictFromKeys(keys: Value, value: Value | undefined): Dict {
  const dict = new Dict();
  for (const key of itemsOf(keys)) dict.set(key, value ?? null);
  return dict;
}

function count(items: readonly Value[], value: Value | undefined): number {
  spendItems(items.length);
  return items.filter((item) => equal(item, value as Value)).length;
}

function index(
  items: readonly Value[],
  value: Value | undefined,
  start: Value | undefined,
  end: Value | undefined,
  type: string,
): number {
  const clamp = (given: Value | undefined, otherwise: number) => {
    if (given === undefined) return otherwise;
    const at = indexOf(given, "slice indices must be integers or have an __index__ method");
    return at < 0 ? Math.max(0, at + items.length) : at;
  };
  const [from, to] = [clamp(start, 0), Math.min(items.length, clamp(end, items.length))];
  spendItems(items.length);
  for (let i = from; i < to; i++) if (equal(items[i] as Value, value as Value)) return i;
  throw valueError(
    type === "list" ? `${repr(value as Value)} is not in list` : "tuple.index(x): x not in tuple",
  );
}

export const LIST_METHODS: ReadonlyMap<string, Method<List>> = new Map([
  method<List>("copy()", (list) => new List(list.items)),
  method<List>("count(/value)", (list, value) => count(list.items, value)),
  method<List>(
    "index(/value, /start=, /stop=)",
    (list, value, start, end) => index(list.items, value, start, end, "list"),
  ),
]);

export const TUPLE_METHODS: ReadonlyMap<string, Method<Tuple>> = new Map([
  method<Tuple>("count(/value)", (tuple, value) => count(tuple.items, value)),
  method<Tuple>(
    "index(/value, /start=, /stop=)",
    (tuple, value, start, end) => index(tuple.items, value, start, end, "tuple"),
  ),
]);

/** Attributes of `d.keys()`, `d.values()` and `d.items()`. */
export function viewAttribute(view: DictView, name: string): Value | undefined {
  if (name === "isdisjoint" && view.of !== "values") {
    return new Callable(name, (args) => {
      if (args.length !== 1) {
        throw typeError(`isdisjoint() takes exactly one argument (${args.length} given)`);
      }
      const own = view.list();
      return !itemsOf(args[0] as Value).some((item) => includes(own, item));
    });
  }
  if (name === "mapping") {
    return new Callable(name, () => {
      throw unsupported("the mapping behind the view of a dict is not supported");
    });
  }
  return undefined;
}
