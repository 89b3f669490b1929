// SPDX-License-Identifier: Apache-2.0
/** Filters over numbers, and those that take any value: default, tojson, int, float. */
import { fixedDigits } from "./decimal.ts";
import { type Operation, operation } from "./environment.ts";
import { JinjaError, typeError } from "./errors.ts";
import { floatIn } from "./format_float.ts";
import { itemsOf, truth } from "./iterate.ts";
import { dumps } from "./json_dumps.ts";
import { arithmetic, indexOf, numberOf, toDouble, truncated } from "./numbers.ts";
import { repeat } from "./operators.ts";
import { parseFloatText, parseIntegerText } from "./parse_number.ts";
import { isUndefined, undefinedError } from "./undefined.ts";
import { Float, integer, isInteger, textOf, typeName, type Value } from "./values.ts";

/** int(value) or int(text, base), and the default where that is no number. */
function toInteger(value: Value, otherwise: Value = 0, base: Value = 10): Value {
  if (isUndefined(value)) throw undefinedError(value);
  const text = textOf(value);
  if (text === null) {
    const number = numberOf(value);
    if (number === null || !(number instanceof Float)) return number ?? otherwise;
    if (Number.isNaN(number.value)) return otherwise;
    return truncated(number.value); // an infinite one raises, as in Python
  }
  const whole = isInteger(base) ? parseIntegerText(text, indexOf(base, "")) : null;
  if (whole !== null) return integer(whole);
  const double = parseFloatText(text);
  return double === null || !Number.isFinite(double) ? otherwise : truncated(double);
}

/** float(value), and the default where that is no number. */
function toFloat(value: Value, otherwise: Value = new Float(0)): Value {
  if (isUndefined(value)) throw undefinedError(value);
  const text = textOf(value);
  if (text !== null) {
    const double = parseFloatText(text);
    return double === null ? otherwise : new Float(double);
  }
  const number = numberOf(value);
  return number === null ? otherwise : new Float(toDouble(number));
}

/** round(value, precision), half to even of the exact value. */
function roundHalfEven(value: Value, precision: number): Value {
  const number = numberOf(value);
  if (number === null) throw typeError(`type ${typeName(value)} doesn't define __round__ method`);
  if (!(number instanceof Float)) {
    if (precision >= 0) return number;
    const size = BigInt(Math.min(-precision, 5000));
    const unit = 10n ** size;
    const [low, exact] = [BigInt(number) / unit, BigInt(number)];
    const rest = exact - low * unit;
    const twice = (rest < 0n ? -rest : rest) * 2n;
    const up = twice > unit || (twice === unit && low % 2n !== 0n);
    return integer((low + (up ? (exact < 0n ? -1n : 1n) : 0n)) * unit);
  }
  const double = number.value;
  if (!Number.isFinite(double) || precision > 400) return number;
  if (precision < -400) return new Float(double < 0 ? -0 : 0);
  const rounded = Number(fixedDigits(Math.abs(double), precision));
  return new Float(double < 0 || Object.is(double, -0) ? -rounded : rounded);
}

/** round(value, None). */
function roundToInteger(value: Value): Value {
  const rounded = roundHalfEven(value, 0);
  return rounded instanceof Float ? truncated(rounded.value) : rounded;
}

function round(value: Value, precision: Value = 0, method: Value = "common"): Value {
  if (method !== "common" && method !== "ceil" && method !== "floor") {
    throw new JinjaError("FilterArgumentError", "method must be common, ceil or floor");
  }
  if (isUndefined(value)) throw undefinedError(value);
  if (precision === null && method === "common") return roundToInteger(value);
  const places = indexOf(precision, `'${typeName(precision)}' object cannot be interpreted as an integer`);
  if (method === "common") return roundHalfEven(value, places);
  const number = numberOf(value);
  if (number === null) throw typeError(`must be real number, not ${typeName(value)}`);
  const unit = numberOf(arithmetic("**", 10, places)) as number;
  const scaled = numberOf(arithmetic("*", number, unit)) as number | bigint | Float;
  const whole = scaled instanceof Float ? truncated(Math[method](scaled.value)) : scaled;
  return arithmetic("/", whole, unit);
}

function absolute(value: Value): Value {
  const number = numberOf(value);
  if (number === null) throw typeError(`bad operand type for abs(): '${typeName(value)}'`);
  if (number instanceof Float) return new Float(Math.abs(number.value));
  return number < 0 ? integer(-BigInt(number)) : number;
}

const SIZES = ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

function fileSize(value: Value, binary: Value = false): Value {
  if (isUndefined(value)) throw undefinedError(value);
  const text = textOf(value);
  const number = text === null ? numberOf(value) : null;
  const bytes = text !== null ? parseFloatText(text) : number === null ? null : toDouble(number);
  if (bytes === null) {
    throw text === null
      ? typeError(`float() argument must be a string or a real number, not '${typeName(value)}'`)
      : new JinjaError("ValueError", `could not convert string to float: '${text}'`);
  }
  const base = truth(binary) ? 1024 : 1000;
  if (bytes === 1) return "1 Byte";
  if (bytes < base) return `${truncated(bytes)} Bytes`;
  const name = (size: string) => truth(binary) ? size.replace("B", "iB").replace("k", "K") : size;
  let shown = "";
  for (const [i, size] of SIZES.entries()) {
    const unit = base ** (i + 2);
    shown = `${floatIn("f", (base * bytes) / unit, { precision: 1, alternate: false })} ${name(size)}`;
    if (bytes < unit) break;
  }
  return shown;
}

function toJson(
  value: Value,
  ensureAscii: Value = false,
  indent: Value = null,
  separators: Value = null,
  sortKeys: Value = false,
): Value {
  const level = indent === null || textOf(value) !== null ? null : textOf(indent) ??
    repeat(" ", indexOf(indent, `can't multiply sequence by non-int of type '${typeName(indent)}'`));
  let [item, key] = [indent === null ? ", " : ",", ": "];
  if (separators !== null) {
    const given = itemsOf(separators).map((one) => textOf(one));
    if (given.length !== 2 || given[0] === null || given[1] === null) {
      throw typeError("tojson takes two texts as separators");
    }
    [item, key] = given as [string, string];
  }
  return dumps(value, {
    ensureAscii: truth(ensureAscii),
    indent: level,
    itemSeparator: item,
    keySeparator: key,
    sortKeys: truth(sortKeys),
  });
}

function orDefault(value: Value, otherwise: Value = "", boolean: Value = false): Value {
  return isUndefined(value) || (truth(boolean) && !truth(value)) ? otherwise : value;
}

export const NUMBER_FILTERS: readonly [string, Operation][] = [
  operation("abs()", absolute),
  operation("round(precision=, method=)", round),
  operation("int(default=, base=)", toInteger),
  operation("float(default=)", toFloat),
  operation("filesizeformat(binary=)", fileSize),
  operation("default(default_value=, boolean=)", orDefault),
  operation("d(default_value=, boolean=)", orDefault),
  operation("tojson(ensure_ascii=, indent=, separators=, sort_keys=)", toJson),
];
