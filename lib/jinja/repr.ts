// SPDX-License-Identifier: Apache-2.0
/** Python's str() and repr(). */
import { floatText } from "./decimal.ts";
import { unsupported, valueError } from "./errors.ts";
import { checkLength, checkNesting, spend, spendCharacters } from "./meter.ts";
import { type Boxed, type Tuple, typeName, type Value } from "./values.ts";

/** Python refuses to print ints of more digits. */
const MAX_INTEGER_DIGITS = 4300;

/** str(value): what a template prints. */
export function str(value: Value): string {
  if (typeof value === "string") return value;
  if (typeof value === "number") return String(value);
  if (value === null) return "None";
  if (typeof value === "object") {
    if (value.kind === "undefined") return "";
    if (value.kind === "markup") return value.text;
  }
  return repr(value);
}

/** repr(value). @throws {JinjaError} For what Python prints with its address in memory */
export function repr(value: Value): string {
  return write(value, 0);
}

function write(value: Value, level: number): string {
  if (value === null) return "None";
  switch (typeof value) {
    case "string":
      return stringRepr(value);
    case "number":
      return String(value);
    case "boolean":
      return value ? "True" : "False";
    case "bigint":
      return integerText(value);
    default:
      return writeBoxed(value, level);
  }
}

function integerText(value: bigint): string {
  const text = String(value);
  if (text.length > MAX_INTEGER_DIGITS + (value < 0n ? 1 : 0)) {
    throw valueError(`Exceeds the limit (${MAX_INTEGER_DIGITS} digits) for integer string conversion`);
  }
  return text;
}

function writeBoxed(value: Boxed, level: number): string {
  checkNesting(level);
  switch (value.kind) {
    case "float":
      return floatText(value.value);
    case "markup":
      return `Markup(${stringRepr(value.text)})`;
    case "list":
      return `[${writeAll(value.items, level)}]`;
    case "tuple":
      return `(${writeAll(value.items, level)}${value.items.length === 1 ? "," : ""})`;
    case "dict":
      return `{${writeAll(value.items(), level, writePair)}}`;
    case "view":
      return `dict_${value.of}([${writeAll(value.list(), level)}])`;
    case "range":
      return `range(${value.start}, ${value.stop}${value.step === 1 ? "" : `, ${value.step}`})`;
    case "undefined":
      return "Undefined";
    case "namespace":
      return `<Namespace {${
        writeAll(
          [...value.attributes],
          level,
          ([key, item]) => `${stringRepr(key)}: ${write(item, level + 1)}`,
        )
      }}>`;
    case "loop":
      return `<LoopContext ${value.index}/${value.length}>`;
    case "thing":
      if (value.text !== null) return value.text;
  }
  throw unsupported(
    `a ${
      typeName(value)
    } cannot be printed: Python prints where it lies in memory, which differs from run to run`,
  );
}

function writePair({ items: [key, value] }: Tuple, level: number): string {
  return `${write(key as Value, level)}: ${write(value as Value, level)}`;
}

function writeAll<T>(
  items: readonly T[],
  level: number,
  one: (item: T, level: number) => string = write as (item: T, level: number) => string,
): string {
  spend(items.length);
  let text = "";
  for (let i = 0; i < items.length; i++) {
    text += (i === 0 ? "" : ", ") + one(items[i] as T, level + 1);
    checkLength(text.length);
  }
  return text;
}

/** What a repr writes as an escape: the quote, the backslash, and what Python does not print. */
const ESCAPED = /[\\'\p{C}\p{Z}]/u;
const ESCAPES: Readonly<Record<string, string>> = {
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\\": "\\\\",
  " ": " ",
};

/** repr of a str: in single quotes, unless it has one and no double ones. */
export function stringRepr(text: string): string {
  spendCharacters(text.length);
  if (!ESCAPED.test(text)) return `'${text}'`;
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\\'\p{C}\p{Z}]/gu, (point) => {
    if (point === "'") return quote === "'" ? "\\'" : "'";
    return ESCAPES[point] ?? hexEscape(point.codePointAt(0) as number);
  });
  return quote + escaped + quote;
}

function hexEscape(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** ascii(value): its repr with what is beyond ASCII escaped. */
export function ascii(value: Value): string {
  return repr(value).replace(/[^\0-\x7f]/gu, (point) => hexEscape(point.codePointAt(0) as number));
}
