// SPDX-License-Identifier: Apache-2.0
/** meft_rmsnorm_* against the f64 reference. */
import assert from "node:assert/strict";
import { bf16ToFloat, f16ToFloat, floatToBf16, floatToF16 } from "../../lib/core/half.ts";
import { rmsnormBackward, rmsnormForward } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { writeWeightParams } from "../../lib/native/structs.ts";
import { MEFT_F32 } from "../../lib/native/symbols.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import type { Weight } from "../../lib/tensor/tensor.ts";
import { assertWithin, F32_EPS, guarded, misaligned, normals, onEveryTarget } from "./kernel_check.ts";

const DTYPES = { f32: 0, bf16: 1, f16: 2 } as const;
const EPS = 1e-6;
const SHAPES = [[0, 8], [1, 1], [1, 15], [3, 16], [2, 17], [5, 31], [70, 64], [301, 37], [3, 4099]] as const;

/** A weight vector of a dtype, with its descriptor for the native call. */
function weightOf(dtype: keyof typeof DTYPES, count: number): { weight: Weight; descriptor: Uint8Array } {
  const values = normals(count, 9);
  const data = dtype === "f32"
    ? values
    : Uint16Array.from(values, dtype === "bf16" ? floatToBf16 : floatToF16);
  const weight: Weight = { name: "w", dtype, rows: 1, cols: count, data, mapped: null, grad: null };
  const descriptor = writeWeightParams({
    dtype: DTYPES[dtype],
    rows: 1,
    cols: count,
    rowStride: count,
    handle: 0,
    offsetBytes: 0,
  });
  return { weight, descriptor };
}

/** |values| of a weight, in f64. */
function magnitudes({ data, dtype }: Weight): number[] {
  const read = dtype === "f32" ? (x: number) => x : dtype === "bf16" ? bf16ToFloat : f16ToFloat;
  return Array.from(data ?? [], (x) => Math.abs(read(x)));
}

Deno.test("rmsnormForward() matches the oracle for every weight type and odd sizes", () => {
  for (const dtype of ["f32", "bf16", "f16"] as const) {
    for (const [rows, D] of SHAPES) {
      const { weight, descriptor } = weightOf(dtype, D);
      const x = normals(rows * D, 1, 3);
      const y = new Float64Array(rows * D), rstd = new Float64Array(rows);
      referenceKernels().rmsNormForward(y, rstd, Float64Array.from(x), weight, rows, EPS);
      onEveryTarget((lane) => {
        const out = { y: guarded(rows * D), rstd: guarded(rows) };
        rmsnormForward(lane, out.y, out.rstd, x, weight.data, descriptor, rows, MEFT_F32, MEFT_F32, EPS);
        return out;
      }, (out) => {
        // The mean is a sum of positive terms: a handful of roundings, and sqrt(D) of them in the longest lane.
        const bound = (8 + Math.sqrt(D)) * F32_EPS;
        assertWithin("rstd", out.rstd, rstd, (i) => bound * (rstd[i] as number));
        assertWithin("y", out.y, y, (i) => bound * Math.abs(y[i] as number));
      });
    }
  }
});

Deno.test("rmsnormBackward() matches the oracle and adds to dx and dweight when asked", () => {
  for (const [rows, D] of SHAPES) {
    const { weight, descriptor } = weightOf("bf16", D);
    const x = normals(rows * D, 2), dy = normals(rows * D, 3), start = normals(rows * D, 4);
    const startWeight = normals(D, 5);
    const rstd = Float32Array.from({ length: rows }, (_, t) => 0.5 + (t % 7) / 5);
    const w = magnitudes(weight);
    for (const accumulate of [false, true]) {
      const dx = Float64Array.from(start), dweight = Float64Array.from(startWeight);
      referenceKernels().rmsNormBackward(
        dx,
        dweight,
        Float64Array.from(dy),
        Float64Array.from(x),
        Float64Array.from(rstd),
        weight,
        rows,
        accumulate,
      );
      const dxTerms = dxMagnitudes(x, dy, rstd, w, D);
      onEveryTarget((lane) => {
        const out = { dx: misaligned(start), dweight: misaligned(startWeight) };
        const stored = weight.data;
        rmsnormBackward(
          lane,
          out.dx,
          out.dweight,
          dy,
          x,
          rstd,
          stored,
          descriptor,
          rows,
          MEFT_F32,
          Number(accumulate),
        );
        return out;
      }, (out) => {
        const bound = 16 * F32_EPS;
        assertWithin(
          "dx",
          out.dx,
          dx,
          (i) => bound * ((dxTerms[i] as number) + Math.abs(start[i] as number)),
        );
        assertWithin("dweight", out.dweight, dweight, (i) => {
          let terms = Math.abs(startWeight[i] as number);
          for (let t = 0; t < rows; t++) {
            terms += Math.abs((dy[t * D + i] as number) * (x[t * D + i] as number)) * (rstd[t] as number);
          }
          return bound * terms;
        });
      });
    }
  }
});

/** Sum of magnitudes behind each dx: rstd * (|w dy| + |n| mean|w dy n|). */
function dxMagnitudes(
  x: Float32Array,
  dy: Float32Array,
  rstd: Float32Array,
  w: number[],
  D: number,
): number[] {
  const terms = (i: number) => Math.abs(dy[i] as number) * (w[i % D] as number);
  return Array.from(x, (_, i) => {
    const t = Math.floor(i / D), r = rstd[t] as number;
    let mean = 0;
    for (let j = t * D; j < (t + 1) * D; j++) mean += terms(j) * Math.abs(x[j] as number) * r / D;
    return r * (terms(i) + Math.abs(x[i] as number) * r * mean);
  });
}

Deno.test("rmsnormForward() keeps a NaN inside its row", () => {
  const { weight, descriptor } = weightOf("f32", 19);
  const x = normals(3 * 19, 6);
  x[19 + 18] = NaN;
  onEveryTarget((lane) => {
    const out = { y: guarded(3 * 19), rstd: guarded(3) };
    rmsnormForward(lane, out.y, out.rstd, x, weight.data, descriptor, 3, MEFT_F32, MEFT_F32, EPS);
    return out;
  }, ({ y }) => y.forEach((value, i) => assert.equal(Number.isNaN(value), i >= 19 && i < 38, `y[${i}]`)));
});

Deno.test("rmsnormForward() refuses a matrix as its weight and a missing array", () => {
  using lane = new NativeContext({ threads: 1 });
  const matrix = writeWeightParams({ dtype: 0, rows: 2, cols: 2, rowStride: 2, handle: 0, offsetBytes: 0 });
  const four = new Float32Array(4);
  assert.throws(
    () => rmsnormForward(lane, four, four, four, four, matrix, 2, MEFT_F32, MEFT_F32, EPS),
    /rmsnorm_forward: w has 2 rows, expected a vector/,
  );
  const { weight, descriptor } = weightOf("f32", 4);
  assert.throws(
    () => rmsnormForward(lane, four, four, null, weight.data, descriptor, 1, MEFT_F32, MEFT_F32, EPS),
    /x is null/,
  );
  assert.throws(
    () => rmsnormForward(lane, four, four, four, weight.data, descriptor, -1, MEFT_F32, MEFT_F32, EPS),
    /rows is -1/,
  );
});
