// SPDX-License-Identifier: Apache-2.0
/** Python's format(value, spec): the mini-language after the colon of a format field. */
import { JinjaError, typeError, unsupported, valueError } from "./errors.ts";
import { floatIn, type FloatNotation } from "./format_float.ts";
import { checkLength } from "./meter.ts";
import { toDouble } from "./numbers.ts";
import { str } from "./repr.ts";
import { codePointLength, codePoints } from "./text.ts";
import { Float, Markup, typeName, type Value } from "./values.ts";

interface Spec {
  readonly fill: string;
  readonly align: string;
  readonly sign: string;
  readonly coerceZero: boolean;
  readonly alternate: boolean;
  readonly width: number;
  readonly grouping: string;
  readonly precision: number | null;
  readonly type: string;
}

/** format(value, spec). */
export function formatValue(value: Value, spec: string): string {
  if (spec === "") return str(value);
  if (value instanceof Markup) throw unsupported("a format for a text that was made safe is not supported");
  if (typeof value === "string") return formatString(value, parseSpec(spec, "str", "<"));
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") {
    return formatInteger(
      typeof value === "boolean" ? Number(value) : value,
      parseSpec(spec, typeName(value), ">"),
    );
  }
  if (value instanceof Float) return formatFloat(value.value, parseSpec(spec, "float", ">"), "float");
  throw typeError(`unsupported format string passed to ${typeName(value)}.__format__`);
}

const SPEC = /^([-+ ]?)(z?)(#?)(0?)(\d*)([,_]*)(?:\.(\d+))?([^]*)$/u;

function parseSpec(text: string, type: string, usual: string): Spec {
  const points = codePoints(text);
  const isAlign = (point: string | undefined) => point !== undefined && "<>=^".includes(point);
  const [fill, align] = isAlign(points[1])
    ? [points[0] as string, points[1] as string]
    : isAlign(points[0])
    ? [null, points[0] as string]
    : [null, null];
  const rest = points.slice((fill === null ? 0 : 1) + (align === null ? 0 : 1)).join("");
  const [, sign = "", zero = "", hash = "", pad = "", width = "", grouping = "", precision, code = ""] = SPEC
    .exec(rest) as RegExpExecArray;
  checkSpec(code, grouping, text, type);
  const padded = pad === "0";
  for (const size of [width, precision ?? ""]) {
    if (Number(size) > 2 ** 62) throw valueError("Too many decimal digits in format string");
    checkLength(Number(size));
  }
  return {
    fill: fill ?? (padded ? "0" : " "),
    align: align ?? (padded && usual === ">" ? "=" : usual),
    sign,
    coerceZero: zero !== "",
    alternate: hash !== "",
    width: Number(width),
    grouping,
    precision: precision === undefined ? null : Number(precision),
    type: code,
  };
}

function checkSpec(code: string, grouping: string, text: string, type: string): void {
  if (code.startsWith(".")) throw valueError("Format specifier missing precision");
  if (codePoints(code).length > 1) {
    throw valueError(`Invalid format specifier '${text}' for object of type '${type}'`);
  }
  if (grouping === ",_" || grouping === "_,") throw valueError("Cannot specify both ',' and '_'.");
  if (grouping.length > 1) throw valueError(`Cannot specify '${grouping[0]}' with '${grouping[1]}'.`);
  const allowed = grouping === "," ? "deEfFgG%" : "deEfFgG%boxX";
  if (grouping !== "" && code !== "" && !allowed.includes(code)) {
    throw valueError(`Cannot specify '${grouping}' with '${code}'.`);
  }
}

function unknownCode(code: string, type: string): Error {
  return valueError(`Unknown format code '${code}' for object of type '${type}'`);
}

function formatString(text: string, spec: Spec): string {
  const refuse = (what: string) => {
    throw valueError(`${what} not allowed in string format specifier`);
  };
  if (spec.type !== "" && spec.type !== "s") throw unknownCode(spec.type, "str");
  if (spec.sign !== "") refuse(spec.sign === " " ? "Space" : "Sign");
  if (spec.coerceZero) refuse("Negative zero coercion (z)");
  if (spec.alternate) refuse("Alternate form (#)");
  if (spec.align === "=") throw valueError("'=' alignment not allowed in string format specifier");
  if (spec.grouping !== "") throw valueError(`Cannot specify '${spec.grouping}' with 's'.`);
  const cut = spec.precision === null ? text : codePoints(text).slice(0, spec.precision).join("");
  return aligned("", cut, spec);
}

/** Puts the fill where the alignment says; `lead` (sign and prefix) stays first under `=`. */
function aligned(lead: string, body: string, { fill, align, width }: Spec): string {
  const missing = width - codePointLength(lead + body);
  if (missing <= 0) return lead + body;
  checkLength(width * fill.length);
  const before = align === ">" ? missing : align === "^" ? missing >> 1 : 0;
  if (align === "=") return lead + fill.repeat(missing) + body;
  return fill.repeat(before) + lead + body + fill.repeat(missing - before);
}

const RADIX: Readonly<Record<string, number>> = { b: 2, o: 8, x: 16, X: 16 };

function formatInteger(value: number | bigint, spec: Spec): string {
  const { type } = spec;
  if (type !== "" && "eEfFgG%".includes(type)) return formatFloat(toDouble(value), spec, "int");
  if (type !== "" && !"dnboxXc".includes(type)) throw unknownCode(type, "int");
  if (spec.precision !== null) throw valueError("Precision not allowed in integer format specifier");
  if (spec.coerceZero) throw valueError("Negative zero coercion (z) not allowed in integer format specifier");
  if (type === "c") return formatCharacter(value, spec);
  const radix = RADIX[type];
  const size = value < 0 ? -value : value;
  const digits = radix === undefined ? str(size) : size.toString(radix);
  const prefix = spec.alternate && radix !== undefined ? `0${type}` : "";
  const lead = signOf(value < 0, spec.sign) + prefix;
  return numeric(lead, type === "X" ? digits.toUpperCase() : digits, "", spec, radix === undefined ? 3 : 4);
}

function formatCharacter(value: number | bigint, spec: Spec): string {
  if (spec.sign !== "") throw valueError("Sign not allowed with integer format specifier 'c'");
  if (spec.alternate) throw valueError("Alternate form (#) not allowed with integer format specifier 'c'");
  return aligned("", characterOf(value), { ...spec, align: spec.align });
}

/** The character of a code point. */
export function characterOf(value: number | bigint): string {
  if (value < 0 || value > 0x10ffff) throw new JinjaError("OverflowError", "%c arg not in range(0x110000)");
  return String.fromCodePoint(Number(value));
}

function signOf(negative: boolean, sign: string): string {
  return negative ? "-" : sign === "-" ? "" : sign;
}

const DEFAULT_PRECISION = 6;

function formatFloat(value: number, spec: Spec, type: string): string {
  const code = spec.type;
  if (code !== "" && !"eEfFgGn%".includes(code)) throw unknownCode(code, type);
  const lower = code.toLowerCase();
  const notation: FloatNotation = code === "" && spec.precision === null
    ? "repr"
    : lower === "e"
    ? "e"
    : lower === "f" || code === "%"
    ? "f"
    : "g";
  const scaled = code === "%" ? value * 100 : value;
  let text = floatIn(notation, Math.abs(scaled), {
    precision: spec.precision ?? DEFAULT_PRECISION,
    alternate: spec.alternate,
    dotZero: code === "",
  });
  if (code !== "" && code === code.toUpperCase() && code !== "%") text = text.toUpperCase();
  let negative = scaled < 0 || Object.is(scaled, -0);
  if (spec.coerceZero && negative && !/[1-9a-zA-Z]/.test(text.replace(/e.*/i, ""))) negative = false;
  const [, whole = "", rest = ""] = /^(\d*)([^]*)$/.exec(text + (code === "%" ? "%" : "")) as RegExpExecArray;
  return numeric(signOf(negative, spec.sign), whole, rest, spec, 3);
}

/** Joins sign, digits in groups, and the rest, filled up to the width. */
function numeric(lead: string, digits: string, rest: string, spec: Spec, group: number): string {
  if (spec.grouping === "") return aligned(lead, digits + rest, spec);
  const zeros = spec.fill === "0" && spec.align === "=";
  const least = zeros ? spec.width - lead.length - rest.length : 0;
  return aligned(lead, grouped(digits, spec.grouping, group, least) + rest, spec);
}

/** Digits in groups, with zeros before them up to a width that counts the separators; a separator never comes first. */
function grouped(digits: string, separator: string, size: number, least: number): string {
  if (digits === "") return digits;
  let padded = digits;
  const lengthOf = (count: number) => count + Math.floor((count - 1) / size);
  while (lengthOf(padded.length) < least) padded = `0${padded}`;
  const groups: string[] = [];
  for (let end = padded.length; end > 0; end -= size) {
    groups.unshift(padded.slice(Math.max(0, end - size), end));
  }
  return groups.join(separator);
}
