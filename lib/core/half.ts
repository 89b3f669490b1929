// SPDX-License-Identifier: Apache-2.0
/** 16-bit floats, kept as their bits: bf16 (the high half of an f32) and f16 (IEEE binary16). */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** Bits of the nearest bf16, ties to even. NaN stays NaN. A number that is no f32 is rounded to f32 first. */
export function floatToBf16(x: number): number {
  float[0] = x;
  const u = bits[0] as number;
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The value of bf16 bits, exactly. */
export function bf16ToFloat(half: number): number {
  bits[0] = half << 16;
  return float[0] as number;
}

/** The value of f16 bits, exactly. */
export function f16ToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 31;
  const mantissa = half & 1023;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** Bits of the nearest f16, ties to even; beyond its range, infinity. NaN stays NaN. */
export function floatToF16(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  if (Number.isNaN(x)) return 0x7e00;
  if (magnitude >= 65520) return sign | 0x7c00; // half way from the largest f16, 65504, to 65536
  // Multiples of the spacing at this magnitude: 2^-24 below 2^-14, else 2^(exponent - 10).
  const exponent = magnitude < 2 ** -14 ? -14 : Math.floor(Math.log2(magnitude));
  const steps = roundHalfEven(magnitude / 2 ** (exponent - 10));
  // steps carries into the exponent field by itself: the bits of consecutive f16 values are consecutive.
  return sign | (magnitude < 2 ** -14 ? steps : ((exponent + 15 - 1) << 10) + steps);
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
