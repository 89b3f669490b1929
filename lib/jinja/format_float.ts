// SPDX-License-Identifier: Apache-2.0
/** Texts of floats in the notations e, f and g, shared by `%` and format(). */
import { fixedDigits, floatText, positional, scientific, significantDigits } from "./decimal.ts";
import { checkLength } from "./meter.ts";

/** How a float is written; letters in lower case. */
export type FloatNotation = "e" | "f" | "g" | "repr";

/** More digits than a float has: beyond them Python prints zeros, so the count only makes texts long. */
export interface FloatOptions {
  readonly precision: number;
  /** Keeps the point and, in g, the zeros at the end. */
  readonly alternate: boolean;
  /** Python's default notation with a precision: g, but a whole number keeps `.0`. */
  readonly dotZero?: boolean;
}

/** The text of a number that is not negative. inf and nan are written so in every notation. */
export function floatIn(notation: FloatNotation, value: number, options: FloatOptions): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : "inf";
  const { precision, alternate } = options;
  checkLength(precision);
  switch (notation) {
    case "repr":
      return alternate ? floatText(value).replace(/^(\d+)(e|$)/, "$1.$2") : floatText(value);
    case "f":
      return fixedDigits(value, precision) + (precision === 0 && alternate ? "." : "");
    case "e":
      return scientific(significantDigits(value, precision + 1), "e", alternate);
    case "g":
      return general(value, Math.max(1, precision), options);
  }
}

/** The shorter of the two notations, without zeros at the end. */
function general(value: number, precision: number, { alternate, dotZero = false }: FloatOptions): string {
  const found = significantDigits(value, precision);
  const digits = alternate ? found.digits : found.digits.replace(/0+$/, "") || "0";
  const trimmed = { digits, point: found.point };
  if (found.point <= -4 || found.point > precision - (dotZero ? 1 : 0)) {
    return scientific(trimmed, "e", alternate);
  }
  const text = positional(trimmed);
  if (text.includes(".")) return text;
  return text + (alternate ? "." : dotZero ? ".0" : "");
}
