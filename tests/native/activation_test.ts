// SPDX-License-Identifier: Apache-2.0
/** meft_swiglu_* and meft_relu_* against the f64 reference. */
import { MEFT_F32 } from "../../lib/native/symbols.ts";
import assert from "node:assert/strict";
import { reluBackward, reluForward, swigluBackward, swigluForward } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertWithin, F32_EPS, guarded, misaligned, normals, onEveryTarget } from "./kernel_check.ts";

const COUNTS = [0, 1, 3, 4, 15, 16, 17, 1009, 40009];
const SMALLEST = 2 ** -114; // e^x below e^-87 is flushed to 0; what multiplies it stays below 2^10

/** Gates from deep in one tail of the sigmoid to deep in the other. */
function gates(count: number): Float32Array<ArrayBuffer> {
  const gate = normals(count, 1, 4);
  [-200, 200, -88, 88.5, 0, -0].forEach((value, i) => {
    if (i < count) gate[count - 1 - i] = value;
  });
  return gate;
}

Deno.test("swigluForward() matches the oracle from tail to tail", () => {
  for (const count of COUNTS) {
    const gate = gates(count), up = normals(count, 2);
    const expected = new Float64Array(count);
    referenceKernels().swigluForward(expected, Float64Array.from(gate), Float64Array.from(up));
    onEveryTarget(
      (lane) => {
        const out = { y: guarded(count) };
        swigluForward(lane, out.y, gate, up, count, MEFT_F32);
        return out;
      },
      ({ y }) =>
        assertWithin("y", y, expected, (i) => 8 * F32_EPS * Math.abs(expected[i] as number) + SMALLEST),
    );
  }
});

Deno.test("swigluBackward() matches the oracle, also in place", () => {
  for (const count of COUNTS) {
    const gate = gates(count), up = normals(count, 3), dy = normals(count, 4);
    const dgate = new Float64Array(count), dup = new Float64Array(count);
    const [dyf, gf, uf] = [dy, gate, up].map((x) => Float64Array.from(x)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    referenceKernels().swigluBackward(dgate, dup, dyf, gf, uf);
    const check = (out: { dgate: Float32Array; dup: Float32Array }) => {
      // 1 + g(1-s): its own size for g > 0, up to 1 + |g| for g < 0, where the terms cancel.
      const bound = (i: number) =>
        8 * F32_EPS * Math.abs(dy[i] as number * (up[i] as number)) * (1 + Math.abs(gate[i] as number)) *
          Math.min(1, Math.exp(gate[i] as number)) + SMALLEST;
      assertWithin("dgate", out.dgate, dgate, bound);
      assertWithin("dup", out.dup, dup, (i) => 8 * F32_EPS * Math.abs(dup[i] as number) + SMALLEST);
    };
    onEveryTarget((lane) => {
      const out = { dgate: guarded(count), dup: guarded(count) };
      swigluBackward(lane, out.dgate, out.dup, dy, gate, up, count, MEFT_F32);
      return out;
    }, check);
    onEveryTarget((lane) => {
      const out = { dgate: misaligned(gate), dup: misaligned(up) };
      swigluBackward(lane, out.dgate, out.dup, dy, out.dgate, out.dup, count, MEFT_F32);
      return out;
    }, check);
  }
});

Deno.test("swigluForward() lets NaN through and stays finite for large gates", () => {
  const gate = misaligned([NaN, 1e30, -1e30, 1]), up = misaligned([1, 1, 1, NaN]);
  onEveryTarget((lane) => {
    const out = { y: guarded(4) };
    swigluForward(lane, out.y, gate, up, 4, MEFT_F32);
    return out;
  }, ({ y }) => assert.deepEqual([...y], [NaN, Math.fround(1e30), -0, NaN]));
});

Deno.test("reluForward() and reluBackward() are exact, in place too, and keep NaN", () => {
  for (const count of COUNTS) {
    const x = normals(count, 5), dy = normals(count, 6);
    if (count > 3) [x[0], x[count - 1], x[count - 2]] = [NaN, 0, NaN];
    const y = Float32Array.from(x, (value) => Math.max(value, 0));
    const dx = Float32Array.from(dy, (value, i) => (y[i] as number) > 0 ? value : 0);
    onEveryTarget((lane) => {
      const out = {
        y: guarded(count),
        yInPlace: misaligned(x),
        dx: guarded(count),
        dxInPlace: misaligned(dy),
      };
      reluForward(lane, out.y, x, count);
      reluForward(lane, out.yInPlace, out.yInPlace, count);
      reluBackward(lane, out.dx, dy, y, count);
      reluBackward(lane, out.dxInPlace, out.dxInPlace, y, count);
      return out;
    }, (out) => {
      const same = (actual: Float32Array, expected: Float32Array) =>
        actual.forEach((value, i) =>
          assert.ok(Object.is(value + 0, (expected[i] as number) + 0), `[${i}] ${value}`)
        );
      for (
        const [actual, expected] of [[out.y, y], [out.yInPlace, y], [out.dx, dx], [
          out.dxInPlace,
          dx,
        ]] as const
      ) {
        same(actual, expected);
      }
    });
  }
});

Deno.test("swigluForward() refuses a negative count and a missing array", () => {
  using lane = new NativeContext({ threads: 1 });
  const four = new Float32Array(4);
  assert.throws(() => swigluForward(lane, four, four, four, -1, MEFT_F32), /swiglu_forward: count is -1/);
  assert.throws(
    () => swigluForward(lane, four, null, four, 4, MEFT_F32),
    /gate is null, expected 4 elements/,
  );
});
