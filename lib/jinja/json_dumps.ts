// SPDX-License-Identifier: Apache-2.0
/** Python's json.dumps(), as the filter `tojson` of transformers calls it: nothing is escaped for HTML. */
import { compareText } from "./text.ts";
import { lessThan } from "./compare.ts";
import { floatText } from "./decimal.ts";
import { typeError } from "./errors.ts";
import { checkLength, checkNesting, spend, spendCharacters } from "./meter.ts";
import { str } from "./repr.ts";
import { Float, Markup, type Tuple, typeName, type Value } from "./values.ts";

/** The arguments of json.dumps() that templates may give. */
export interface JsonOptions {
  readonly ensureAscii: boolean;
  /** What each level is indented by; null for all on one line. */
  readonly indent: string | null;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sortKeys: boolean;
}

/** @throws {JinjaError} For what is not JSON: undefined values, functions, namespaces, keys that are tuples */
export function dumps(value: Value, options: JsonOptions): string {
  return write(value, options, 0);
}

function write(value: Value, options: JsonOptions, level: number): string {
  if (value === null) return "null";
  switch (typeof value) {
    case "string":
      return quote(value, options.ensureAscii);
    case "number":
      return String(value);
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      return str(value);
  }
  checkNesting(level);
  switch (value.kind) {
    case "float":
      return floatJson(value.value);
    case "markup":
      return quote(value.text, options.ensureAscii);
    case "list":
    case "tuple":
      return enclose("[", value.items, "]", options, level, (item) => write(item, options, level + 1));
    case "dict": {
      const items = options.sortKeys ? sorted(value.items()) : value.items();
      return enclose(
        "{",
        items,
        "}",
        options,
        level,
        ({ items: [key, item] }) =>
          quote(keyText(key as Value), options.ensureAscii) + options.keySeparator +
          write(item as Value, options, level + 1),
      );
    }
  }
  throw typeError(`Object of type ${typeName(value)} is not JSON serializable`);
}

function enclose<T>(
  open: string,
  items: readonly T[],
  close: string,
  { indent, itemSeparator }: JsonOptions,
  level: number,
  one: (item: T) => string,
): string {
  if (items.length === 0) return open + close;
  spend(items.length);
  const newLine = indent === null ? "" : `\n${indent.repeat(level + 1)}`;
  let text = open;
  for (let i = 0; i < items.length; i++) {
    text += (i === 0 ? newLine : itemSeparator + newLine) + one(items[i] as T);
    checkLength(text.length);
  }
  return text + (indent === null ? "" : `\n${indent.repeat(level)}`) + close;
}

function sorted(items: readonly Tuple[]): readonly Tuple[] {
  spendCharacters(items.length * 16);
  return items.toSorted(({ items: [a] }, { items: [b] }) => {
    if (typeof a === "string" && typeof b === "string") return compareText(a, b);
    return lessThan(a as Value, b as Value) ? -1 : lessThan(b as Value, a as Value) ? 1 : 0;
  });
}

function keyText(key: Value): string {
  if (typeof key === "string") return key;
  if (key === null) return "null";
  if (typeof key === "boolean") return key ? "true" : "false";
  if (key instanceof Float) return floatJson(key.value);
  if (key instanceof Markup) return key.text;
  if (typeof key === "number" || typeof key === "bigint") return str(key);
  throw typeError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function floatJson(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value < 0 ? "-Infinity" : "Infinity";
  return floatText(value);
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\f": "\\f",
  "\b": "\\b",
};

function quote(text: string, ensureAscii: boolean): string {
  spendCharacters(text.length);
  // deno-lint-ignore no-control-regex
  const escaped = text.replace(/["\\\0-\x1f]/g, (unit) => ESCAPES[unit] ?? unitEscape(unit));
  return `"${ensureAscii ? escaped.replace(/[^\0-\x7e]/g, unitEscape) : escaped}"`;
}

function unitEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
