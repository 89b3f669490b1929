// SPDX-License-Identifier: Apache-2.0
/** What calls of the library refuse, before anything is written: counts, missing arrays, places outside of a table. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import {
  crossEntropy,
  dropoutApply,
  linearBackwardData,
  linearBackwardWeight,
  linearForward,
  planesJoin,
  planesSplit,
  randomNormal,
  rmsnormForward,
  ropeApply,
  swigluForward,
} from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { type DropoutParams, writeDropoutParams, writeWeightParams } from "../../lib/native/structs.ts";
import { MEFT_F16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { normals } from "./kernel_check.ts";

const MASK = { seed: 0xffffffff, stream: 0xdeadbeef, part: 31, first: 5, probability: 0.25 };
const EPS = 1e-6;

Deno.test("swigluForward() refuses a negative count and a missing array", () => {
  using lane = new NativeContext({ threads: 1 });
  const four = new Float32Array(4);
  assert.throws(() => swigluForward(lane, four, four, four, -1, MEFT_F32), /swiglu_forward: count is -1/);
  assert.throws(
    () => swigluForward(lane, four, null, four, 4, MEFT_F32),
    /gate is null, expected 4 elements/,
  );
});

Deno.test("crossEntropy() refuses a target outside the vocabulary", () => {
  using lane = new NativeContext({ threads: 1 });
  assert.throws(
    () => crossEntropy(lane, new Float32Array(2), new Float32Array(6), Int32Array.of(0, 3), 2, 3, 1),
    /targets\[1\] is 3, expected less than the vocabulary, 3/,
  );
});

Deno.test("rmsnormForward() refuses a matrix as its weight and a missing array", () => {
  using lane = new NativeContext({ threads: 1 });
  const matrix = writeWeightParams({ dtype: 0, rows: 2, cols: 2, rowStride: 2, handle: 0, offsetBytes: 0 });
  const four = new Float32Array(4);
  assert.throws(
    () => rmsnormForward(lane, four, four, four, four, matrix, 2, MEFT_F32, MEFT_F32, EPS),
    /rmsnorm_forward: w has 2 rows, expected a vector/,
  );
  const vector = writeWeightParams({ dtype: 0, rows: 1, cols: 4, rowStride: 4, handle: 0, offsetBytes: 0 });
  assert.throws(
    () => rmsnormForward(lane, four, four, null, four, vector, 1, MEFT_F32, MEFT_F32, EPS),
    /x is null/,
  );
  assert.throws(
    () => rmsnormForward(lane, four, four, four, four, vector, -1, MEFT_F32, MEFT_F32, EPS),
    /rows is -1/,
  );
});

Deno.test("randomNormal() refuses a negative or infinite std", () => {
  using lane = new NativeContext({ threads: 1 });
  for (const std of [-1, Infinity]) {
    assert.throws(() => randomNormal(lane, new Float32Array(1), 1, 0, 0, std), /random_normal: std is/);
  }
});

Deno.test("dropoutApply() refuses masks without a place or with nothing left", () => {
  using lane = new NativeContext({ threads: 1 });
  const call = (change: Partial<DropoutParams>) => () =>
    dropoutApply(
      lane,
      new Float32Array(1),
      new Float32Array(1),
      1,
      writeDropoutParams({ ...MASK, accumulate: 0, yDtype: MEFT_F32, xDtype: MEFT_F32, ...change }),
    );
  assert.throws(call({ probability: 1 }), /dropout_apply: probability is 1, expected from 0 to below 1/);
  assert.throws(call({ probability: -0.1 }), /probability is -0.1/);
  assert.throws(call({ first: -1 }), /dropout_apply: first is -1/);
  assert.throws(call({ first: 2n ** 63n - 1n }), /first is 9223372036854775807/);
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

Deno.test("planesSplit() and planesJoin() name the argument that is wrong", () => {
  using lane = new NativeContext();
  assert.throws(
    () => planesSplit(lane, null, new Int16Array(1), new Float32Array(1), 1),
    /planes_split: hi is null/,
  );
  assert.throws(() => planesJoin(lane, null, null, null, -1), /planes_join: count is -1/);
});

Deno.test("linear calls name what is wrong before they write", () => {
  using lane = new NativeContext({ threads: 1 });
  const described = (rows: number, cols: number) =>
    writeWeightParams({ dtype: MEFT_F32, rows, cols, rowStride: cols, handle: 0, offsetBytes: 0 });
  const [w, bias] = [new Float32Array(24), new Float32Array(5)];
  const [matrix, vector] = [described(4, 6), described(1, 5)];
  const y = new Float32Array(8).fill(7), x = new Float32Array(12);
  const types = [MEFT_F32, MEFT_F32, MEFT_F32] as const;
  const refused = (call: () => void, pattern: RegExp) => {
    assert.throws(call, pattern);
    assert.ok(y.every((value) => value === 7), "output was written");
  };
  refused(
    () => linearForward(lane, y, x, w, matrix, bias, vector, 2, ...types, 0),
    /bias is 1 x 5, expected 1 x 4/,
  );
  refused(() => linearForward(lane, y, x, w, matrix, bias, null, 2, ...types, 0), /bias_desc is null/);
  refused(
    () => linearForward(lane, y, x, w, matrix, null, null, 2, MEFT_F32, MEFT_F32, MEFT_F16, 0),
    /compute is 2/,
  );
  refused(() => linearForward(lane, y, null, w, matrix, null, null, 2, ...types, 0), /x is null/);
  refused(() => linearBackwardData(lane, y, x, w, matrix, -1, ...types, 0), /tokens is -1/);
  refused(
    () => linearBackwardWeight(lane, y, null, x, x, 1, 2n ** 40n, 2n ** 40n, ...types),
    /more than memory can hold/,
  );
});
