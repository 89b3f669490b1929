// SPDX-License-Identifier: Apache-2.0
/**
 * Decimal digits of floats as C's printf and Python's repr give them. JavaScript's toFixed and toExponential round ties
 * away from zero, Python rounds the exact value half to even; so the digits are made from the exact value.
 */

/** Decimal digits and where the point is: 0.d1d2d3… * 10 ** point. */
export interface Digits {
  readonly digits: string;
  readonly point: number;
}

/** mantissa * 2 ** exponent of a finite number that is not negative. */
function exactParts(value: number): { mantissa: bigint; exponent: number } {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const biased = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xfffffffffffffn;
  return biased === 0
    ? { mantissa: fraction, exponent: -1074 }
    : { mantissa: fraction | 0x10000000000000n, exponent: biased - 1075 };
}

/** A finite number as a quotient of integers, not always in lowest terms. */
export function exactRatio(value: number): { numerator: bigint; denominator: bigint } {
  const { mantissa, exponent } = exactParts(Math.abs(value));
  const signed = value < 0 ? -mantissa : mantissa;
  return exponent >= 0
    ? { numerator: signed << BigInt(exponent), denominator: 1n }
    : { numerator: signed, denominator: 1n << BigInt(-exponent) };
}

/** Divides two positive integers, rounded half to even. */
export function divideHalfEven(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = (numerator - quotient * denominator) * 2n;
  const up = twice > denominator || (twice === denominator && (quotient & 1n) === 1n);
  return up ? quotient + 1n : quotient;
}

/** value * 10 ** places as an integer, rounded half to even; `places` may be negative. */
function scaled(value: number, places: number): bigint {
  const { mantissa, exponent } = exactParts(value);
  let [numerator, denominator] = [mantissa, 1n];
  if (exponent >= 0) numerator <<= BigInt(exponent);
  else denominator <<= BigInt(-exponent);
  if (places >= 0) numerator *= 10n ** BigInt(places);
  else denominator *= 10n ** BigInt(-places);
  return divideHalfEven(numerator, denominator);
}

/** No double has a digit that is not 0 beyond so many. */
const MAX_PLACES = 1100;

/** Digits with so many places after the point, as `%.{places}f`: without sign or exponent. */
export function fixedDigits(value: number, places: number): string {
  if (places > MAX_PLACES) return fixedDigits(value, MAX_PLACES) + "0".repeat(places - MAX_PLACES);
  const digits = scaled(value, places).toString();
  if (places <= 0) return digits + "0".repeat(digits === "0" ? 0 : -places);
  const padded = digits.padStart(places + 1, "0");
  return `${padded.slice(0, -places)}.${padded.slice(-places)}`;
}

/** So many significant digits (1 or more), as `%.{count - 1}e` has them. */
export function significantDigits(value: number, count: number): Digits {
  if (value === 0) return { digits: "0".repeat(count), point: 1 };
  if (count > MAX_PLACES) {
    const { digits, point } = significantDigits(value, MAX_PLACES);
    return { digits: digits + "0".repeat(count - MAX_PLACES), point };
  }
  let point = Math.floor(Math.log10(value)) + 1; // may be off by one at powers of ten
  for (;;) {
    const digits = scaled(value, count - point).toString();
    if (digits.length === count) return { digits, point };
    // 9.99… rounded up to 10.00…: has one digit more and is right with one place less
    point += digits.length > count ? 1 : -1;
  }
}

/** The fewest digits that read back as the same number. */
function shortestDigits(value: number): Digits {
  const [, whole = "", fraction = "", exponent = "0"] =
    /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(value)) ??
      [];
  const all = whole + fraction;
  const digits = all.replace(/^0+/, "");
  const point = whole.length + Number(exponent) - (all.length - digits.length);
  return digits === "" ? { digits: "0", point: 1 } : { digits: digits.replace(/0+$/, ""), point };
}

/** Scientific notation with at least two digits of exponent: 1.5e-07. */
export function scientific({ digits, point }: Digits, letter = "e", alternate = false): string {
  const exponent = point - 1;
  const size = String(Math.abs(exponent)).padStart(2, "0");
  const dot = digits.length > 1 || alternate ? "." : "";
  return `${digits[0]}${dot}${digits.slice(1)}${letter}${exponent < 0 ? "-" : "+"}${size}`;
}

/** Plain notation of digits, without a point when there is nothing after it. */
export function positional({ digits, point }: Digits): string {
  if (point <= 0) return `0.${"0".repeat(-point)}${digits}`;
  if (point >= digits.length) return digits + "0".repeat(point - digits.length);
  return `${digits.slice(0, point)}.${digits.slice(point)}`;
}

/** Python's repr of a float: 0.1, 1.0, 1e+16, 1e-05, nan. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  if (!Number.isFinite(value)) return `${sign}inf`;
  const found = shortestDigits(Math.abs(value));
  if (found.point > 16 || found.point < -3) return sign + scientific(found);
  const text = positional(found);
  return sign + (text.includes(".") ? text : `${text}.0`);
}
