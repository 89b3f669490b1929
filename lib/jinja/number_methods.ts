// SPDX-License-Identifier: Apache-2.0
/** Attributes and methods of int, float and range. */
import { exactRatio, floatText } from "./decimal.ts";
import { bound } from "./arguments.ts";
import { equal } from "./compare.ts";
import { JinjaError, unsupported, valueError } from "./errors.ts";
import { toDouble } from "./numbers.ts";
import { repr } from "./repr.ts";
import { Callable, Float, integer, type Range, Tuple, type Value } from "./values.ts";

type NumberValue = number | bigint | boolean | Float;

function method(declaration: string, run: (...values: (Value | undefined)[]) => Value): Callable {
  return new Callable(declaration.slice(0, declaration.indexOf("(")), bound(declaration, run));
}

/** An attribute of an int, a bool or a float. */
export function numberAttribute(value: NumberValue, name: string): Value | undefined {
  const own = typeof value === "object" ? floatAttribute(value, name) : integerAttribute(BigInt(value), name);
  if (own !== undefined) return own;
  switch (name) {
    case "real":
      return typeof value === "boolean" ? Number(value) : value;
    case "imag":
      return typeof value === "object" ? new Float(0) : 0;
    case "conjugate":
      return method("conjugate()", () => typeof value === "boolean" ? Number(value) : value);
    default:
      return undefined;
  }
}

function integerAttribute(value: bigint, name: string): Value | undefined {
  const size = value < 0n ? -value : value;
  switch (name) {
    case "numerator":
      return integer(value);
    case "denominator":
      return 1;
    case "bit_length":
      return method("bit_length()", () => size === 0n ? 0 : size.toString(2).length);
    case "bit_count":
      return method("bit_count()", () => size.toString(2).replaceAll("0", "").length);
    case "as_integer_ratio":
      return method("as_integer_ratio()", () => new Tuple([integer(value), 1]));
    case "to_bytes":
    case "from_bytes":
      return new Callable(name, () => {
        throw unsupported(`${name}() is about bytes, which templates here do not have`);
      });
    default:
      return undefined;
  }
}

function floatAttribute({ value }: Float, name: string): Value | undefined {
  switch (name) {
    case "is_integer":
      return method("is_integer()", () => Number.isInteger(value));
    case "as_integer_ratio":
      return method("as_integer_ratio()", () => integerRatio(value));
    case "hex":
      return method("hex()", () => hexText(value));
    case "fromhex":
      return new Callable(name, () => {
        throw unsupported("fromhex() is not supported");
      });
    default:
      return undefined;
  }
}

function integerRatio(value: number): Tuple {
  if (Number.isNaN(value)) throw valueError("cannot convert NaN to integer ratio");
  if (!Number.isFinite(value)) {
    throw new JinjaError("OverflowError", "cannot convert Infinity to integer ratio");
  }
  let { numerator, denominator } = exactRatio(value);
  while (denominator > 1n && numerator % 2n === 0n) {
    [numerator, denominator] = [numerator / 2n, denominator / 2n];
  }
  return new Tuple([integer(numerator), integer(denominator)]);
}

/** float.hex(): 0x1.8000000000000p+1. */
function hexText(value: number): string {
  if (!Number.isFinite(value)) return floatText(value);
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  if (value === 0) return `${sign}0x0.0p+0`;
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(value));
  const bits = view.getBigUint64(0);
  const biased = Number(bits >> 52n);
  const fraction = (bits & 0xfffffffffffffn).toString(16).padStart(13, "0");
  const exponent = biased === 0 ? -1022 : biased - 1023;
  return `${sign}0x${biased === 0 ? 0 : 1}.${fraction}p${exponent < 0 ? "" : "+"}${exponent}`;
}

/** An attribute of a range. */
export function rangeAttribute(range: Range, name: string): Value | undefined {
  switch (name) {
    case "start":
    case "stop":
    case "step":
      return range[name];
    case "count":
      return method("count(/value)", (value) => indexInRange(range, value as Value) === null ? 0 : 1);
    case "index":
      return method("index(/value)", (value) => {
        const index = indexInRange(range, value as Value);
        if (index === null) throw valueError(`${repr(value as Value)} is not in range`);
        return index;
      });
    default:
      return undefined;
  }
}

function indexInRange({ start, step, length }: Range, value: Value): number | null {
  if (!(value instanceof Float) && typeof value !== "number" && typeof value !== "boolean") return null;
  const index = (toDouble(typeof value === "boolean" ? Number(value) : value) - start) / step;
  return Number.isInteger(index) && index >= 0 && index < length && equal(start + index * step, value)
    ? index + 0
    : null;
}
