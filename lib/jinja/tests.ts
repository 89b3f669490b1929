// SPDX-License-Identifier: Apache-2.0
/** The tests behind `is`. */
import { bind, signature } from "./arguments.ts";
import { compare, type Comparison, contains, equal } from "./compare.ts";
import { type Environment, type Operation, operation } from "./environment.ts";
import { unsupported } from "./errors.ts";
import { lengthOf, tryItems } from "./iterate.ts";
import { numberOf } from "./numbers.ts";
import { binary } from "./operators.ts";
import { str } from "./repr.ts";
import { CLASSES } from "./unicode.ts";
import { isUndefined } from "./undefined.ts";
import { Dict, Float, hashKey, Markup, textOf, type Value } from "./values.ts";

/** Tests of the value alone, called without the binding of arguments when there are none. */
export const PLAIN_TESTS: ReadonlyMap<string, (value: Value) => boolean> = new Map([
  ["defined", (value: Value) => !isUndefined(value)],
  ["undefined", isUndefined],
  ["none", (value: Value) => value === null],
  ["boolean", (value: Value) => typeof value === "boolean"],
  ["true", (value: Value) => value === true],
  ["false", (value: Value) => value === false],
  ["integer", (value: Value) => typeof value === "number" || typeof value === "bigint"],
  ["float", (value: Value) => value instanceof Float],
  ["number", (value: Value) => numberOf(value) !== null],
  ["string", (value: Value) => textOf(value) !== null],
  ["mapping", (value: Value) => value instanceof Dict],
  ["sequence", isSequence],
  ["iterable", isIterable],
  ["callable", isCallable],
  ["escaped", (value: Value) => value instanceof Markup],
  ["lower", (value: Value) => classed(value, "islower")],
  ["upper", (value: Value) => classed(value, "isupper")],
  ["odd", (value: Value) => equal(binary("%", value, 2), 1)],
  ["even", (value: Value) => equal(binary("%", value, 2), 0)],
]);

function classed(value: Value, name: "islower" | "isupper"): boolean {
  return CLASSES[name]?.(str(value)) ?? false;
}

function isSequence(value: Value): boolean {
  if (typeof value === "object" && value !== null && (value.kind === "view" || value.kind === "loop")) {
    return false;
  }
  return lengthOf(value) !== null;
}

function isIterable(value: Value): boolean {
  if (typeof value === "object" && value !== null && (value.kind === "stream" || value.kind === "loop")) {
    return true;
  }
  return tryItems(value) !== null;
}

function isCallable(value: Value): boolean {
  if (value === null || typeof value !== "object") return false;
  return value.kind === "callable" || value.kind === "undefined" || value.kind === "loop" ||
    (value.kind === "thing" && value.call !== null);
}

/** Python's `is`. Whether equal texts or numbers are one object depends on how Python came by them. */
function isSame(value: Value, other: Value): boolean {
  if (value === null || other === null || typeof value === "boolean" || typeof other === "boolean") {
    return value === other;
  }
  if (typeof value === "object" && typeof other === "object" && value === other) return true;
  const primitive = (one: Value) => typeof one !== "object" || one instanceof Float || one instanceof Markup;
  if (!primitive(value) || !primitive(other)) return false;
  const small = (one: Value) => typeof one === "number" && one >= -5 && one <= 256;
  const short = (one: Value) => typeof one === "string" && one.length <= 1 && one < "\u0100";
  if (small(value) || small(other) || short(value) || short(other)) return value === other;
  if (typeof value !== typeof other || !equal(value, other)) return false;
  throw unsupported(
    "whether two equal texts or numbers are the same object (sameas) differs from run to run",
  );
}

const COMPARISONS: readonly [Comparison, ...string[]][] = [
  ["==", "eq", "equalto"],
  ["!=", "ne"],
  [">", "gt", "greaterthan"],
  [">=", "ge"],
  ["<", "lt", "lessthan"],
  ["<=", "le"],
];

/** All tests but `filter` and `test`, which know the names of the others. */
export const TESTS: readonly [string, Operation][] = [
  ...[...PLAIN_TESTS].map(([name, test]) => operation(`${name}()`, test)),
  operation("divisibleby(num)", (value, number) => equal(binary("%", value, number as Value), 0)),
  operation("sameas(other)", (value, other) => isSame(value, other as Value)),
  operation("in(seq)", (value, items) => contains(items as Value, value)),
  ...COMPARISONS.flatMap(([comparison, ...names]) =>
    [comparison, ...names].map((name): [string, Operation] => {
      const [, run] = operation("eq(/b)", (value, other) => compare(comparison, value, other as Value));
      return [name, run];
    })
  ),
  named("filter", (name, { filters, refused }) => filters.has(name) || refused.has(name)),
  named("test", (name, { tests }) => tests.has(name)),
];

/** A test of whether there is something by a name. */
function named(
  test: string,
  exists: (name: string, environment: Environment) => boolean,
): [string, Operation] {
  const none = signature(`test_${test}()`);
  return [test, (value, args, keywords, environment) => {
    bind(none, args, keywords);
    return exists(nameOf(value), environment);
  }];
}

function nameOf(value: Value): string {
  hashKey(value); // raises for what cannot be a key, as Python's `in` does
  return textOf(value) ?? "";
}
