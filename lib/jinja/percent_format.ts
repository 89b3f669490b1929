// SPDX-License-Identifier: Apache-2.0
/** `text % values`: formatting as C's printf does it, and Python after it. */
import { typeError, valueError } from "./errors.ts";
import { floatIn, type FloatNotation } from "./format_float.ts";
import { characterOf } from "./format_spec.ts";
import { checkLength, spendCharacters } from "./meter.ts";
import { numberOf, toDouble, truncated } from "./numbers.ts";
import { ascii, repr, str } from "./repr.ts";
import { codePointLength, codePoints } from "./text.ts";
import { isUndefined, undefinedError } from "./undefined.ts";
import { Dict, Float, hashKey, isInteger, textOf, Tuple, typeName, type Value } from "./values.ts";

interface Directive {
  readonly flags: string;
  readonly width: number;
  readonly precision: number | null;
  readonly code: string;
}

const DIRECTIVE = /%([(%])?/g;
const REST = /([-+ #0]*)(\*|\d*)(?:(\.)(\*|\d*))?[hlL]?([^]?)/uy;

/** text % values. @throws {JinjaError} When the values are not those that the text asks for */
export function formatPercent(text: string, values: Value): string {
  const mapping = isMapping(values);
  const list: readonly Value[] = values instanceof Tuple ? values.items : [values];
  let used = 0;
  const next = (): Value => {
    if (used >= list.length) throw typeError("not enough arguments for format string");
    return list[used++] as Value;
  };
  const star = (digits: string | undefined): number => {
    if (digits !== "*") return Number(digits ?? 0);
    const value = next();
    if (typeof value !== "number") throw typeError("* wants int");
    return value;
  };
  let [result, at] = ["", 0];
  spendCharacters(text.length);
  for (;;) {
    DIRECTIVE.lastIndex = at;
    const match = DIRECTIVE.exec(text);
    if (match === null) break;
    result += text.slice(at, match.index);
    let position = DIRECTIVE.lastIndex;
    if (match[1] === "%") {
      result += "%";
      at = position;
      continue;
    }
    let value: Value | undefined;
    if (match[1] !== undefined) {
      const close = closingParenthesis(text, position);
      value = byKey(values, mapping, text.slice(position, close));
      position = close + 1;
    }
    REST.lastIndex = position;
    const [whole = "", flags = "", width, dot, precision, code = ""] = REST.exec(text) ?? [];
    const stars = [star(width), dot === undefined ? null : star(precision)] as const;
    const directive = {
      flags: flags + (stars[0] < 0 ? "-" : ""),
      width: Math.abs(stars[0]),
      precision: stars[1],
      code,
    };
    at = position + whole.length;
    if (code === "") throw valueError("incomplete format");
    result += convert(directive, value ?? next(), () => unknown(text, at, code));
    checkLength(result.length);
  }
  if (used < list.length && !mapping) {
    throw typeError("not all arguments converted during string formatting");
  }
  return result + text.slice(at);
}

/** What Python's PyMapping_Check says yes to: values for which it does not mind that some are left over. */
function isMapping(value: Value): boolean {
  return value !== null && typeof value === "object" &&
    ["dict", "list", "undefined", "range"].includes(value.kind);
}

function closingParenthesis(text: string, start: number): number {
  let open = 1;
  for (let i = start; i < text.length; i++) {
    if (text[i] === "(") open++;
    else if (text[i] === ")" && --open === 0) return i;
  }
  throw valueError("incomplete format key");
}

function byKey(values: Value, mapping: boolean, key: string): Value {
  if (!mapping) throw typeError("format requires a mapping");
  if (isUndefined(values)) throw undefinedError(values);
  if (!(values instanceof Dict)) {
    throw typeError(`${typeName(values)} indices must be integers or slices, not str`);
  }
  const found = values.get(hashKey(key));
  if (found === undefined) throw typeError(`no value for the key ${repr(key)} of a format`);
  return found;
}

function unknown(text: string, end: number, code: string): Error {
  const index = codePointLength(text.slice(0, end - code.length));
  return valueError(
    `unsupported format character '${code}' (0x${
      (code.codePointAt(0) as number).toString(16)
    }) at index ${index}`,
  );
}

function convert(directive: Directive, value: Value, unknownCode: () => Error): string {
  const { code } = directive;
  switch (code) {
    case "s":
      return padString(str(value), directive);
    case "r":
      return padString(repr(value), directive);
    case "a":
      return padString(ascii(value), directive);
    case "c":
      return padString(character(value), { ...directive, precision: null });
    case "d":
    case "i":
    case "u":
      return padNumber(...decimalParts(value, directive), directive);
    case "x":
    case "X":
    case "o":
      return padNumber(...radixParts(value, directive), directive);
    case "e":
    case "E":
    case "f":
    case "F":
    case "g":
    case "G":
      return padNumber(...floatParts(value, directive), directive);
  }
  throw unknownCode();
}

function padString(text: string, { flags, width, precision }: Directive): string {
  const cut = precision === null ? text : codePoints(text).slice(0, precision).join("");
  const missing = width - codePointLength(cut);
  if (missing <= 0) return cut;
  checkLength(width);
  return flags.includes("-") ? cut + " ".repeat(missing) : " ".repeat(missing) + cut;
}

function character(value: Value): string {
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") {
    return characterOf(typeof value === "boolean" ? Number(value) : value);
  }
  const text = textOf(value);
  if (text === null || codePoints(text).length !== 1) throw typeError("%c requires int or char");
  return text;
}

/** Sign, then the rest up to the width; zeros go between the two. */
function padNumber(negative: boolean, prefix: string, digits: string, { flags, width }: Directive): string {
  const sign = negative ? "-" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : "";
  const lead = sign + prefix;
  const missing = width - lead.length - digits.length;
  if (missing <= 0) return lead + digits;
  checkLength(width);
  if (flags.includes("-")) return lead + digits + " ".repeat(missing);
  return flags.includes("0") ? lead + "0".repeat(missing) + digits : " ".repeat(missing) + lead + digits;
}

type Parts = [negative: boolean, prefix: string, digits: string];

function decimalParts(value: Value, { code, precision }: Directive): Parts {
  const number = numberOf(value);
  if (number === null) {
    throw typeError(`%${code} format: a real number is required, not ${typeName(value)}`);
  }
  const whole = number instanceof Float ? truncated(number.value) : number;
  return [whole < 0, "", str(whole < 0 ? -whole : whole).padStart(precision ?? 0, "0")];
}

function radixParts(value: Value, { code, precision, flags }: Directive): Parts {
  if (!isInteger(value)) throw typeError(`%${code} format: an integer is required, not ${typeName(value)}`);
  const whole = typeof value === "boolean" ? Number(value) : value;
  const digits = (whole < 0 ? -whole : whole).toString(code === "o" ? 8 : 16).padStart(precision ?? 0, "0");
  const prefix = flags.includes("#") ? `0${code}` : "";
  return [whole < 0, prefix, code === "X" ? digits.toUpperCase() : digits];
}

function floatParts(value: Value, { code, precision, flags }: Directive): Parts {
  const number = numberOf(value);
  if (number === null) {
    if (isUndefined(value)) throw undefinedError(value);
    throw typeError(`must be real number, not ${typeName(value)}`);
  }
  const double = toDouble(number);
  const text = floatIn(code.toLowerCase() as FloatNotation, Math.abs(double), {
    precision: precision ?? 6,
    alternate: flags.includes("#"),
  });
  const negative = double < 0 || Object.is(double, -0);
  return [negative, "", code === code.toUpperCase() ? text.toUpperCase() : text];
}
