// SPDX-License-Identifier: Apache-2.0
/** Weights and f64 sums for the tests of linear layers. */
import { assertWithin } from "../compare.ts";
import { bf16ToFloat, f16ToFloat, floatToBf16, floatToF16 } from "../../lib/core/half.ts";
import { writeWeightParams } from "../../lib/native/structs.ts";
import { MEFT_BF16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { F32_EPS, normals } from "./kernel_check.ts";

/** A weight somewhere inside a buffer: not aligned to its vectors, rows further apart than they are long. */
export interface TestWeight {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly descriptor: Uint8Array<ArrayBuffer>;
  /** The numbers stored, without gaps. */
  readonly values: Float64Array;
}

/** Where a test weight begins in its buffer. */
export const OFFSET_BYTES = 2;

/** A weight of N(0,1), rounded to its type; rows `gap` elements further apart than they must be. */
export function testWeight(dtype: number, rows: number, cols: number, stream: number, gap = 3): TestWeight {
  const source = normals(rows * cols, stream);
  const [bytes, stride] = [dtype === MEFT_F32 ? 4 : 2, cols + gap];
  // Exactly as long as it must be: a read past the end would leave the buffer. Gaps hold NaN.
  const count = rows === 0 || cols === 0 ? 0 : (rows - 1) * stride + cols;
  const data = new Uint8Array(OFFSET_BYTES + count * bytes).fill(0xff);
  const view = new DataView(data.buffer);
  const values = new Float64Array(rows * cols);
  for (let i = 0; i < values.length; i++) {
    const at = OFFSET_BYTES + (Math.floor(i / cols) * stride + i % cols) * bytes;
    const x = source[i] as number;
    if (dtype === MEFT_F32) {
      view.setFloat32(at, x, true);
      values[i] = x;
    } else {
      const half = dtype === MEFT_BF16 ? floatToBf16(x) : floatToF16(x);
      view.setUint16(at, half, true);
      values[i] = dtype === MEFT_BF16 ? bf16ToFloat(half) : f16ToFloat(half);
    }
  }
  const descriptor = writeWeightParams({
    dtype,
    rows,
    cols,
    rowStride: stride,
    handle: 0,
    offsetBytes: OFFSET_BYTES,
  });
  return { data, descriptor, values };
}

/** What a product reads: its inputs rounded to bf16 when it is computed so. */
export function operands(values: ArrayLike<number>, compute: number): Float64Array {
  return Float64Array.from(values, (x) => compute === MEFT_BF16 ? bf16ToFloat(floatToBf16(x)) : x);
}

/** What a product should be. */
export interface Sums {
  /** c[i][j] = start[i][j] + sum over p of a[i][p] * b[p][j]. */
  readonly sums: Float64Array;
  /** Rounding bound: a chain of k roundings of random sign, each of at most half an ulp of the magnitudes' sum. */
  readonly bounds: Float64Array;
}

/** The oracle. `a` and `b` by their strides: element (i, p) of a is a[i * aRow + p * aCol]. */
export function oracle(
  sizes: readonly [m: number, n: number, k: number],
  a: Float64Array,
  [aRow, aCol]: readonly [number, number],
  b: Float64Array,
  [bRow, bCol]: readonly [number, number],
  start: (i: number, j: number) => number,
): Sums {
  const [m, n, k] = sizes;
  const sums = new Float64Array(m * n), bounds = new Float64Array(m * n);
  const c = 8 + 2 * Math.sqrt(k);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = start(i, j), magnitude = Math.abs(sum);
      for (let p = 0; p < k; p++) {
        const product = (a[i * aRow + p * aCol] as number) * (b[p * bRow + j * bCol] as number);
        sum += product;
        magnitude += Math.abs(product);
      }
      sums[i * n + j] = sum;
      bounds[i * n + j] = c * F32_EPS * magnitude;
    }
  }
  return { sums, bounds };
}

/** Every element within its bound. */
export function check(label: string, actual: Float32Array, { sums, bounds }: Sums): void {
  assertWithin(label, actual, sums, (i) => bounds[i] as number);
}
