// SPDX-License-Identifier: Apache-2.0
/** str.format() as the sandbox of Jinja2 runs it: attributes and items of fields are looked up as templates do. */
import { JinjaError, typeError, valueError } from "./errors.ts";
import { formatValue } from "./format_spec.ts";
import { checkLength, spendCharacters } from "./meter.ts";
import { ascii, repr, str } from "./repr.ts";
import { CLASSES } from "./unicode.ts";
import { Dict, type Keywords, typeName, type Value } from "./values.ts";

/** What a field may take its value from. */
interface Sources {
  readonly args: readonly Value[];
  readonly keyed: (name: string) => Value | undefined;
  /** Number of the next field without a name; false once a field had a number of its own. */
  next: number | false;
  readonly lookups: Lookups;
}

interface Field {
  readonly name: string;
  readonly conversion: string | null;
  readonly spec: string;
}

/** How the attributes and items of a field are looked up. */
export interface Lookups {
  readonly getAttribute: (value: Value, name: string) => Value;
  readonly getItem: (value: Value, key: Value) => Value;
}

/** text.format(*args, **keywords), or text.format_map(mapping). */
export function formatText(
  text: string,
  args: readonly Value[],
  keywords: Keywords | Value,
  lookups: Lookups,
): string {
  const keyed = (name: string) => {
    if (keywords === null || keywords instanceof Map || keywords instanceof Dict) return keywords?.get(name);
    throw typeError(`'${typeName(keywords as Value)}' object is not subscriptable`);
  };
  return format(text, { args, keyed, next: 0, lookups }, 2);
}

function format(text: string, sources: Sources, depth: number): string {
  if (depth < 0) throw valueError("Max string recursion exceeded");
  spendCharacters(text.length);
  let result = "";
  for (const part of parse(text)) {
    if (typeof part === "string") result += part;
    else result += formatField(part, sources, depth);
    checkLength(result.length);
  }
  return result;
}

function formatField({ name, conversion, spec }: Field, sources: Sources, depth: number): string {
  let field = name;
  const switched = "cannot switch from manual field specification to automatic field numbering";
  if (field === "") {
    if (sources.next === false) throw valueError(switched);
    field = String(sources.next++);
  } else if (CLASSES["isdigit"]?.(field)) {
    if (sources.next) throw valueError(switched);
    sources.next = false;
  }
  const value = converted(fieldValue(field, sources), conversion);
  return formatValue(value, format(spec, sources, depth - 1));
}

function converted(value: Value, conversion: string | null): Value {
  switch (conversion) {
    case null:
      return value;
    case "s":
      return str(value);
    case "r":
      return repr(value);
    case "a":
      return ascii(value);
  }
  throw valueError(`Unknown conversion specifier ${conversion}`);
}

/** A name or number, then `.attribute` and `[item]` any number of times. */
function fieldValue(field: string, { args, keyed, lookups }: Sources): Value {
  const [first = ""] = /^[^.[]*/.exec(field) ?? [];
  let value: Value | undefined;
  if (/^\d+$/.test(first)) {
    value = args[Number(first)];
    if (value === undefined) {
      throw new JinjaError("IndexError", `Replacement index ${first} out of range for positional args tuple`);
    }
  } else {
    value = keyed(first);
    if (value === undefined) throw new JinjaError("KeyError", repr(first));
  }
  let at = first.length;
  while (at < field.length) {
    const bracket = field[at] === "[";
    if (!bracket && field[at] !== ".") {
      throw valueError("Only '.' or '[' may follow ']' in format field specifier");
    }
    let end = bracket ? field.indexOf("]", at) : at + 1;
    if (end < 0) throw valueError("Missing ']' in format string");
    while (!bracket && end < field.length && field[end] !== "." && field[end] !== "[") end++;
    const key = field.slice(at + 1, end);
    if (key === "") throw valueError("Empty attribute in format string");
    value = bracket
      ? lookups.getItem(value, /^\d+$/.test(key) ? Number(key) : key)
      : lookups.getAttribute(value, key);
    at = bracket ? end + 1 : end;
  }
  return value;
}

/** Literal texts and fields in turn. */
function* parse(text: string): Generator<string | Field> {
  let at = 0;
  while (at < text.length) {
    const next = text.slice(at).search(/[{}]/);
    if (next < 0) {
      yield text.slice(at);
      return;
    }
    if (next > 0) yield text.slice(at, at + next);
    at += next;
    const brace = text[at] as string;
    if (text[at + 1] === brace) {
      yield brace;
      at += 2;
      continue;
    }
    if (brace === "}") throw valueError("Single '}' encountered in format string");
    if (at + 1 >= text.length) throw valueError("Single '{' encountered in format string");
    const end = closingBrace(text, at + 1);
    yield parseField(text.slice(at + 1, end));
    at = end + 1;
  }
}

/** Where a field ends; braces within it are counted, but not those in brackets of its name. */
function closingBrace(text: string, start: number): number {
  let [open, inBrackets, inName] = [1, false, true];
  for (let i = start; i < text.length; i++) {
    const character = text[i];
    if (inName && character === "[") inBrackets = true;
    else if (inBrackets) inBrackets = character !== "]";
    else if (character === "{") {
      if (inName) throw valueError("unexpected '{' in field name");
      open++;
    } else if (character === "}" && --open === 0) return i;
    else if (character === ":" || character === "!") inName = false;
  }
  throw valueError("expected '}' before end of string");
}

function parseField(text: string): Field {
  let at = 0;
  let inBrackets = false;
  for (; at < text.length; at++) {
    if (text[at] === "[") inBrackets = true;
    else if (text[at] === "]") inBrackets = false;
    else if (!inBrackets && (text[at] === ":" || text[at] === "!")) break;
  }
  const name = text.slice(0, at);
  if (text[at] !== "!") return { name, conversion: null, spec: text.slice(at + 1) };
  const [conversion] = text.slice(at + 1);
  if (conversion === undefined) throw valueError("end of string while looking for conversion specifier");
  const rest = text.slice(at + 1 + conversion.length);
  if (rest !== "" && rest[0] !== ":") throw valueError("expected ':' after conversion specifier");
  return { name, conversion, spec: rest.slice(1) };
}
