// SPDX-License-Identifier: Apache-2.0
/** JavaScript's values to those of templates. */
import { checkNesting } from "./meter.ts";
import { unsupported } from "./errors.ts";
import {
  Callable,
  Dict,
  DictView,
  Float,
  integer,
  List,
  Markup,
  Namespace,
  Range,
  Stream,
  Thing,
  Tuple,
  Undefined,
  type Value,
} from "./values.ts";

/** A function that a template may call with positional arguments: numbers, texts and so on as templates have them. */
export type TemplateFunction = (...args: readonly Value[]) => unknown;

const OWN = [
  Float,
  Markup,
  List,
  Tuple,
  Dict,
  DictView,
  Range,
  Stream,
  Undefined,
  Callable,
  Namespace,
  Thing,
];

/** Whole doubles from here on are floats: JavaScript itself writes them with an exponent. */
const FLOAT_FROM = 1e21;

/**
 * null is None; a whole number is an int, another one a float; arrays are lists; plain objects and Maps are dicts in their
 * order. What already is a value of templates stays, so what is rendered often can be converted once.
 *
 * @throws {JinjaError} For what templates have nothing for (symbols), and for values nested too deeply
 */
export function toValue(value: unknown, level = 0): Value {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return numberValue(value);
    case "bigint":
      return integer(value);
    case "undefined":
      return null;
    case "function":
      return new Callable(
        value.name,
        (args) => toValue((value as TemplateFunction)(...args)),
        "function",
      );
    case "object":
      return value === null ? null : objectValue(value, level);
    default:
      throw unsupported(`a ${typeof value} cannot be handed to a template`);
  }
}

function numberValue(value: number): Value {
  if (Number.isSafeInteger(value)) return value + 0;
  return Number.isInteger(value) && Math.abs(value) < FLOAT_FROM ? BigInt(value) : new Float(value);
}

function objectValue(value: object, level: number): Value {
  checkNesting(level);
  if (Array.isArray(value)) return new List(value.map((item) => toValue(item, level + 1)));
  if (value instanceof Dict || OWN.some((type) => value instanceof type)) return value as Value;
  const dict = new Dict();
  if (value instanceof Map) {
    for (const [key, item] of value) dict.set(toValue(key, level + 1), toValue(item, level + 1));
    return dict;
  }
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) dict.set(key, toValue(item, level + 1));
  }
  return dict;
}
