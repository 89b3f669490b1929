// SPDX-License-Identifier: Apache-2.0
/** Arithmetic of ints of any size and floats, as Python has it: floor division, sign of the remainder, exact quotients. */
import { divideHalfEven, exactRatio } from "./decimal.ts";
import { JinjaError, typeError, unsupported, valueError } from "./errors.ts";
import { MAX_INTEGER_BITS } from "./meter.ts";
import { Float, integer, type Value } from "./values.ts";

type Int = number | bigint;
export type ArithmeticOperator = "+" | "-" | "*" | "/" | "//" | "%" | "**";

/** A number's int or Float; null for what is no number. */
export function numberOf(value: Value): Int | Float | null {
  switch (typeof value) {
    case "number":
    case "bigint":
      return value;
    case "boolean":
      return value ? 1 : 0;
  }
  return value !== null && typeof value === "object" && value.kind === "float" ? value : null;
}

/** The nearest double of a number. @throws {JinjaError} When an int is too large */
export function toDouble(value: Int | Float): number {
  if (typeof value === "number") return value;
  if (typeof value !== "bigint") return value.value;
  const double = Number(value);
  if (!Number.isFinite(double)) throw new JinjaError("OverflowError", "int too large to convert to float");
  return double;
}

/** a (operator) b. */
export function arithmetic(operator: ArithmeticOperator, a: Int | Float, b: Int | Float): Value {
  if (typeof a === "object" || typeof b === "object") {
    return floatArithmetic(operator, toDouble(a), toDouble(b));
  }
  if (typeof a === "number" && typeof b === "number") {
    const quick = safeArithmetic(operator, a, b);
    if (quick !== null) return quick;
  }
  return bigArithmetic(operator, BigInt(a), BigInt(b));
}

/** The answer where doubles give it exactly, else null. */
function safeArithmetic(operator: ArithmeticOperator, a: number, b: number): Value | null {
  let result: number;
  switch (operator) {
    case "+":
      result = a + b;
      break;
    case "-":
      result = a - b;
      break;
    case "*":
      result = a * b + 0; // no -0 among ints
      break;
    case "/":
      return new Float(a / nonzero(b, "division by zero"));
    case "//":
      result = Math.floor((a - remainder(a, nonzero(b, "integer division or modulo by zero"))) / b + 0);
      break;
    case "%":
      return remainder(a, nonzero(b, "integer modulo by zero"));
    default:
      return null;
  }
  return Number.isSafeInteger(result) ? result : null;
}

function nonzero(b: number, message: string): number {
  if (b === 0) throw new JinjaError("ZeroDivisionError", message);
  return b;
}

/** Remainder with the sign of the divisor. */
function remainder(a: number, b: number): number {
  const rest = a % b;
  return rest !== 0 && (rest < 0) !== (b < 0) ? rest + b : rest + 0;
}

function bigArithmetic(operator: ArithmeticOperator, a: bigint, b: bigint): Value {
  switch (operator) {
    case "+":
      return integer(a + b);
    case "-":
      return integer(a - b);
    case "*":
      checkBits(bits(a) + bits(b));
      return integer(a * b);
    case "/":
      if (b === 0n) throw new JinjaError("ZeroDivisionError", "division by zero");
      return new Float(quotient(a, b));
    case "//":
      return integer(floorDivision(a, b));
    case "%":
      return integer(a - floorDivision(a, b) * b);
    case "**":
      return power(a, b);
  }
}

function floorDivision(a: bigint, b: bigint): bigint {
  if (b === 0n) throw new JinjaError("ZeroDivisionError", "integer division or modulo by zero");
  const truncated = a / b;
  return truncated * b !== a && (a < 0n) !== (b < 0n) ? truncated - 1n : truncated;
}

/** Bits of an int's size. */
function bits(value: bigint): number {
  const hex = (value < 0n ? -value : value).toString(16);
  return (hex.length - 1) * 4 + parseInt(hex[0] as string, 16).toString(2).length;
}

function checkBits(count: number): void {
  if (count > MAX_INTEGER_BITS) {
    throw new JinjaError(
      "LimitError",
      `the template makes an integer of about ${count} bits, more than ${MAX_INTEGER_BITS}, the limit of one integer`,
    );
  }
}

function power(a: bigint, b: bigint): Value {
  if (b < 0n) return floatArithmetic("**", toDouble(integer(a)), toDouble(integer(b)));
  if (a === 0n || a === 1n || a === -1n) return b === 0n ? 1 : Number(a < 0n && b % 2n === 0n ? 1n : a);
  checkBits(bits(a) * Number(b > 1_000_000n ? 1_000_000n : b));
  return integer(a ** b);
}

/** The double nearest to a / b, ties to even. */
export function quotient(a: bigint, b: bigint): number {
  const negative = (a < 0n) !== (b < 0n);
  const [n, d] = [a < 0n ? -a : a, b < 0n ? -b : b];
  if (n === 0n) return 0;
  // 56 bits and more of the quotient, the last one sticky, round as the exact value does
  const shift = n.toString(2).length - d.toString(2).length - 56;
  const mantissa = shift >= 0
    ? stickyDivision(n, d << BigInt(shift))
    : stickyDivision(n << BigInt(-shift), d);
  const result = scaleByPower(mantissa, shift);
  if (!Number.isFinite(result)) {
    throw new JinjaError("OverflowError", "integer division result too large for a float");
  }
  return negative ? -result : result;
}

/** n / d rounded down, its last bit set when something is left. */
function stickyDivision(n: bigint, d: bigint): bigint {
  const whole = n / d;
  return whole * d === n ? whole : whole | 1n;
}

/** mantissa * 2 ** shift, rounded once. */
function scaleByPower(mantissa: bigint, shift: number): number {
  if (shift >= 0) return Number(mantissa << BigInt(shift));
  const length = mantissa.toString(2).length;
  const keep = Math.min(53, length + shift + 1074); // fewer bits among subnormal numbers
  if (keep <= 0) return keep < 0 ? 0 : Number(divideHalfEven(mantissa, 1n << BigInt(length))) * 5e-324;
  const drop = Math.max(0, length - keep);
  const rounded = Number(divideHalfEven(mantissa, 1n << BigInt(drop)));
  const exponent = shift + drop;
  return exponent < -1000 ? rounded * 2 ** -1000 * 2 ** (exponent + 1000) : rounded * 2 ** exponent;
}

function floatArithmetic(operator: ArithmeticOperator, a: number, b: number): Float {
  switch (operator) {
    case "+":
      return new Float(a + b);
    case "-":
      return new Float(a - b);
    case "*":
      return new Float(a * b);
    case "/":
      return new Float(a / nonzero(b, "float division by zero"));
    case "//":
      return new Float(floatDivmod(a, nonzero(b, "float floor division by zero"))[0]);
    case "%":
      return new Float(floatDivmod(a, nonzero(b, "float modulo"))[1]);
    case "**":
      return new Float(floatPower(a, b));
  }
}

/** Python's float_divmod. */
function floatDivmod(a: number, b: number): [quotient: number, remainder: number] {
  let rest = a % b;
  let quotient = (a - rest) / b;
  if (rest !== 0) {
    if ((b < 0) !== (rest < 0)) {
      rest += b;
      quotient -= 1;
    }
  } else {
    rest = b < 0 ? -0 : 0;
  }
  if (quotient === 0) return [a / b < 0 || Object.is(a / b, -0) ? -0 : 0, rest];
  const floor = Math.floor(quotient);
  return [quotient - floor > 0.5 ? floor + 1 : floor, rest];
}

function floatPower(a: number, b: number): number {
  if (a === 1 || b === 0) return 1;
  if (a === -1 && !Number.isFinite(b) && !Number.isNaN(b)) return 1;
  if (a === 0 && b < 0) {
    throw new JinjaError("ZeroDivisionError", "0.0 cannot be raised to a negative power");
  }
  if (a < 0 && Number.isFinite(a) && Number.isFinite(b) && !Number.isInteger(b)) {
    throw unsupported(
      "a negative number to a broken power is a complex number, which templates here do not have",
    );
  }
  // V8's power may be off in the last bit: whole exponents are worked out exactly
  const exact = Number.isInteger(b) && Math.abs(b) <= 64 && a !== 0 && Number.isFinite(a);
  const result = exact ? exactPower(a, b) : a ** b;
  if (!Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b)) {
    throw new JinjaError("OverflowError", "(34, 'Numerical result out of range')");
  }
  return result;
}

function exactPower(a: number, b: number): number {
  const { numerator, denominator } = exactRatio(a);
  const exponent = BigInt(Math.abs(b));
  const [n, d] = [numerator ** exponent, denominator ** exponent];
  return b < 0 ? quotient(d, n) : quotient(n, d);
}

/** -value. */
export function negative(value: Int | Float): Value {
  if (typeof value === "number") return 0 - value;
  return typeof value === "bigint" ? integer(-value) : new Float(-value.value);
}

/** How two numbers compare, exactly, whatever their sizes; NaN compares false with everything. */
export function numbersEqual(a: Int | Float, b: Int | Float): boolean {
  const [x, y] = [typeof a === "object" ? a.value : a, typeof b === "object" ? b.value : b];
  return x == y; // number and bigint compare by value
}

export function numberLess(a: Int | Float, b: Int | Float): boolean {
  return (typeof a === "object" ? a.value : a) < (typeof b === "object" ? b.value : b);
}

/** An int that an index or a count must be, as a number; huge ones are clamped, as Python clamps those of slices. */
export function indexOf(value: Value, message: string): number {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (typeof value === "bigint") return value > 0n ? Number.MAX_SAFE_INTEGER : Number.MIN_SAFE_INTEGER;
  throw typeError(message);
}

/** int(x) of a double: its part before the point. */
export function truncated(value: number): Int {
  if (Number.isNaN(value)) throw valueError("cannot convert float NaN to integer");
  if (!Number.isFinite(value)) {
    throw new JinjaError("OverflowError", "cannot convert float infinity to integer");
  }
  const whole = Math.trunc(value) + 0;
  return Number.isSafeInteger(whole) ? whole : integer(BigInt(whole));
}
