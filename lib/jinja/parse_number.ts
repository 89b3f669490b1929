// SPDX-License-Identifier: Apache-2.0
/** int(text, base) and float(text) as Python reads them: white space around, underscores within, digits of any script. */
import { JinjaError } from "./errors.ts";
import { strip } from "./text.ts";
import { digitValue } from "./unicode.ts";

/** Text without white space around it, its decimal digits made ASCII. */
function plain(text: string): string {
  const inner = strip(text, null, "both");
  if (/^[\0-\x7f]*$/.test(inner)) return inner;
  return Array.from(inner, (point) => {
    const digit = digitValue(point);
    return digit === null ? point : String(digit);
  }).join("");
}

const PREFIXES: Readonly<Record<string, number>> = { "0b": 2, "0o": 8, "0x": 16 };
const MAX_DIGITS = 4300;

/** The integer that a text stands for, or null. @throws {JinjaError} When the base is none */
export function parseIntegerText(text: string, base: number): bigint | null {
  if (base !== 0 && (base < 2 || base > 36)) {
    return null; // a ValueError in Python, which the filter takes for no number
  }
  const [, sign = "", body = ""] = /^([-+]?)([^]*)$/.exec(plain(text)) as RegExpExecArray;
  const prefix = PREFIXES[body.slice(0, 2).toLowerCase()];
  const prefixed = prefix !== undefined && (base === prefix || base === 0);
  const radix = prefixed ? prefix : base === 0 ? 10 : base;
  let digits = prefixed ? body.slice(2) : body;
  if (prefixed && digits.startsWith("_")) digits = digits.slice(1);
  if (!/^[0-9a-zA-Z]+(_[0-9a-zA-Z]+)*$/.test(digits)) return null;
  if (base === 0 && !prefixed && /^0[0_]*[1-9]/.test(digits)) return null;
  digits = digits.replaceAll("_", "").toLowerCase();
  if ((radix & (radix - 1)) !== 0 && digits.length > MAX_DIGITS) return null;
  let value = 0n;
  if (radix === 10 && /^\d+$/.test(digits)) {
    value = BigInt(digits);
  } else {
    if (digits.length > 100_000) throw new JinjaError("LimitError", "a number of more than 100000 digits");
    for (const digit of digits) {
      const worth = parseInt(digit, 36);
      if (worth >= radix) return null;
      value = value * BigInt(radix) + BigInt(worth);
    }
  }
  return sign === "-" ? -value : value;
}

const FLOAT = /^[-+]?(?:\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:[eE][-+]?\d+(?:_\d+)*)?$/;

/** The float that a text stands for, or null. */
export function parseFloatText(text: string): number | null {
  const body = plain(text);
  if (FLOAT.test(body)) return Number(body.replaceAll("_", ""));
  const [, sign, word] = /^([-+]?)(inf|infinity|nan)$/i.exec(body) ?? [];
  if (word === undefined) return null;
  const size = word.toLowerCase() === "nan" ? NaN : Infinity;
  return sign === "-" ? -size : size;
}
