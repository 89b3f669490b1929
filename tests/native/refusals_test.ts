// SPDX-License-Identifier: Apache-2.0
/** What calls of the library refuse, before anything is written: counts, missing arrays, places outside of a table. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import {
  crossEntropy,
  dropoutApply,
  planesJoin,
  planesSplit,
  randomNormal,
  rmsnormForward,
  ropeApply,
  swigluForward,
} from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { type DropoutParams, writeDropoutParams, writeWeightParams } from "../../lib/native/structs.ts";
import { MEFT_F32 } from "../../lib/native/symbols.ts";
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
