// SPDX-License-Identifier: Apache-2.0
/** meft_rope_apply against the f64 reference. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { ropeApply } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { MEFT_F32 } from "../../lib/native/symbols.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertWithin, F32_EPS, misaligned, normals, onEveryTarget } from "./kernel_check.ts";

const SHAPES = [[0, 2, 8], [1, 1, 2], [3, 2, 30], [5, 3, 32], [7, 1, 34], [130, 4, 64]] as const;
const TABLE_ROWS = 11;

Deno.test("ropeApply() matches the oracle in both directions", () => {
  for (const [tokens, heads, headDim] of SHAPES) {
    const x = normals(tokens * heads * headDim, 1);
    // Any tables will do: they carry a scale, so they need not be of unit length.
    const cos = normals(TABLE_ROWS * headDim / 2, 2), sin = normals(TABLE_ROWS * headDim / 2, 3);
    const positions = Int32Array.from({ length: tokens }, (_, t) => (t * 5 + 10) % TABLE_ROWS);
    for (const inverse of [false, true]) {
      const expected = Float64Array.from(x);
      referenceKernels().ropeApply(expected, cos, sin, positions, heads, headDim, inverse);
      onEveryTarget((lane) => {
        const out = { x: misaligned(x) };
        ropeApply(
          lane,
          out.x,
          cos,
          sin,
          positions,
          tokens,
          heads,
          headDim,
          TABLE_ROWS,
          MEFT_F32,
          Number(inverse),
        );
        return out;
      }, (out) => {
        // Two products of factors below 5 and one sum.
        const half = headDim / 2;
        assertWithin("x", out.x, expected, (i) => {
          const pair = i % headDim < half ? i + half : i - half;
          return 2 * F32_EPS * 5 * (Math.abs(x[i] as number) + Math.abs(x[pair] as number));
        });
      });
    }
  }
});

Deno.test("ropeApply() inverse is the exact adjoint of the rotation", () => {
  const headDim = 34, tokens = 5, heads = 2, count = tokens * heads * headDim;
  const cos = normals(TABLE_ROWS * headDim / 2, 4), sin = normals(TABLE_ROWS * headDim / 2, 5);
  const positions = Int32Array.of(0, 10, 3, 3, 7);
  const a = normals(count, 6), b = normals(count, 7);
  const dot = (x: Float32Array, y: Float32Array) =>
    x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);
  onEveryTarget((lane) => {
    const out = { forward: misaligned(a), back: misaligned(b) };
    ropeApply(lane, out.forward, cos, sin, positions, tokens, heads, headDim, TABLE_ROWS, MEFT_F32, 0);
    ropeApply(lane, out.back, cos, sin, positions, tokens, heads, headDim, TABLE_ROWS, MEFT_F32, 1);
    return out;
  }, ({ forward, back }) => {
    const scale = Math.sqrt(dot(forward, forward) * dot(b, b));
    assertWithin("<Ra, b>", [dot(forward, b)], [dot(a, back)], () => 4 * F32_EPS * scale);
  });
});

Deno.test("ropeApply() refuses an odd head_dim and a position outside the tables, and writes nothing", () => {
  using lane = new NativeContext({ threads: 1 });
  const x = normals(6, 8), before = x.slice(), table = new Float32Array(12);
  assert.throws(
    () => ropeApply(lane, x, table, table, Int32Array.of(0, 0), 2, 1, 3, 4, MEFT_F32, 0),
    /head_dim is 3/,
  );
  for (const position of [-1, 4]) {
    assert.throws(
      () => ropeApply(lane, x, table, table, Int32Array.of(0, position, 1), 3, 1, 2, 4, MEFT_F32, 0),
      new RegExp(`positions\\[1\\] is ${position}, expected 0 to 3`),
    );
  }
  assertSame(x, before);
});
