// SPDX-License-Identifier: Apache-2.0
/** What calls of the library refuse, before anything is written: counts, missing arrays, places outside of a table. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import {
  activationBackward,
  activationForward,
  couplingForward,
  couplingFromFixed,
  couplingInverse,
  couplingToFixed,
  crossEntropy,
  dropoutApply,
  embeddingBackward,
  embeddingForward,
  expertsChoose,
  expertsCombine,
  expertsGather,
  expertsWeighBackward,
  linearBackwardData,
  linearBackwardWeight,
  linearForward,
  normBackward,
  normForward,
  planesJoin,
  planesSplit,
  randomNormal,
  ropeApply,
  softcap,
} from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import * as structs from "../../lib/native/structs.ts";
import { MEFT_F16, MEFT_F32 } from "../../lib/native/symbols.ts";
import { normals } from "../fixtures/normals.ts";

const MASK = { seed: 0xffffffff, stream: 0xdeadbeef, part: 31, first: 5, probability: 0.25 };
const EPS = 1e-6;

Deno.test("activationForward() and activationBackward() refuse what they cannot compute", () => {
  using lane = new NativeContext({ threads: 1 });
  const four = new Float32Array(4);
  const forward = (count: number, x: Float32Array | null, kind: number) => () =>
    activationForward(lane, four, x, four, count, kind, MEFT_F32);
  assert.throws(forward(-1, four, 0), /activation_forward: count is -1/);
  assert.throws(forward(4, null, 0), /x is null, expected 4 elements/);
  for (const kind of [-1, 8]) assert.throws(forward(4, four, kind), new RegExp(`kind is ${kind}, expected`));
  const backward = (dup: Float32Array | null, up: Float32Array | null) => () =>
    activationBackward(lane, four, dup, four, four, up, 4, 2, MEFT_F32);
  assert.throws(backward(null, four), /activation_backward: dup is null, but not up/);
  assert.throws(backward(four, null), /up is null, but not dup/);
});

Deno.test("crossEntropy() refuses a target outside the vocabulary", () => {
  using lane = new NativeContext({ threads: 1 });
  assert.throws(
    () => crossEntropy(lane, new Float32Array(2), new Float32Array(6), Int32Array.of(0, 3), 2, 3, 1, 0),
    /targets\[1\] is 3, expected less than the vocabulary, 3/,
  );
});

Deno.test("normForward() and normBackward() refuse wrong weights, kinds and missing arrays", () => {
  using lane = new NativeContext({ threads: 1 });
  const described = (rows: number, cols: number) =>
    structs.writeWeightParams({ dtype: 0, rows, cols, rowStride: cols, handle: 0, offsetBytes: 0 });
  const [matrix, vector, four] = [described(2, 2), described(1, 4), new Float32Array(4)];
  const params = {
    kind: 0,
    rows: 1,
    eps: EPS,
    unitOffset: 0,
    yDtype: MEFT_F32,
    xDtype: MEFT_F32,
    accumulate: 0,
  };
  const forward = (w: Uint8Array, x: Float32Array | null, change: Partial<structs.NormParams> = {}) => () =>
    normForward(lane, four, four, x, four, w, null, null, structs.writeNormParams({ ...params, ...change }));
  assert.throws(forward(matrix, four), /norm_forward: w has 2 rows, expected a vector/);
  assert.throws(forward(vector, null), /x is null/);
  assert.throws(forward(vector, four, { rows: -1 }), /rows is -1/);
  assert.throws(forward(vector, four, { kind: 2 }), /kind is 2, expected MEFT_NORM_RMS or MEFT_NORM_LAYER/);
  assert.throws(forward(vector, four, { eps: -1 }), /eps is -1, expected 0 or more/);
  assert.throws(forward(vector, four, { yDtype: MEFT_F16 }), /y/);
  const biased = (data: Float32Array | null, bias: Uint8Array | null) => () =>
    normForward(lane, four, four, four, four, vector, data, bias, structs.writeNormParams(params));
  assert.throws(biased(four, described(1, 3)), /bias is 1 x 3, expected 1 x 4/);
  assert.throws(biased(four, null), /bias has data but bias_desc is null/);
  assert.throws(
    () =>
      normBackward(lane, four, null, null, four, four, null, four, vector, structs.writeNormParams(params)),
    /norm_backward: stats is null/,
  );
});

Deno.test("what chooses among experts and moves their rows refuses numbers outside of their range", () => {
  using lane = new NativeContext({ threads: 1 });
  const [floats, numbers] = [new Float32Array(8), new Int32Array(8)];
  const choose = (experts: number, active: number) => () =>
    expertsChoose(lane, floats, numbers, floats, 1, experts, active, 0);
  assert.throws(choose(0, 1), /experts_choose: experts is 0, expected 1 to/);
  assert.throws(choose(4, 5), /active is 5, expected 1 to 4, the experts/);
  assert.throws(choose(4, 0), /active is 0, expected 1 to 4, the experts/);
  for (const row of [-1, 2]) {
    const rows = Int32Array.of(0, row);
    assert.throws(
      () => expertsGather(lane, floats, floats, rows, 2, 2, 2, MEFT_F32, MEFT_F32),
      new RegExp(`experts_gather: rows\\[1\\] is ${row}, expected 0 to 1`),
    );
    assert.throws(
      () => expertsCombine(lane, floats, floats, rows, null, 1, 2, 2, MEFT_F32, 0),
      new RegExp(`experts_combine: places\\[1\\] is ${row}, expected 0 to 1`),
    );
    assert.throws(
      () => expertsWeighBackward(lane, floats, floats, floats, floats, rows, floats, 2, 2, MEFT_F32),
      new RegExp(`experts_weigh_backward: slots\\[1\\] is ${row}, expected 0 to 1`),
    );
  }
});

Deno.test("couplings refuse scales that no stream has, and bits to drop without a place for them", () => {
  using lane = new NativeContext({ threads: 1 });
  const [ints, floats] = [Int32Array.of(7, 8), new Float32Array(2)];
  const forward = (fraction: number, shift: number, dropped: Int32Array | null) => () =>
    couplingForward(lane, ints, dropped, null, floats, ints, floats, 2, fraction, shift);
  const inverse = (fraction: number, shift: number, dropped: Int32Array | null) => () =>
    couplingInverse(lane, ints, ints, dropped, floats, 2, fraction, shift);
  for (const [name, call] of [["forward", forward], ["inverse", inverse]] as const) {
    for (const fraction of [-1, 31]) {
      const said = new RegExp(`coupling_${name}: fraction is ${fraction}, expected 0 to 30`);
      assert.throws(call(fraction, 0, null), said);
    }
    for (const shift of [-1, 16]) {
      assert.throws(call(0, shift, ints), new RegExp(`shift is ${shift}, expected 0 to 15`));
    }
    assert.throws(call(0, 1, null), /dropped is null, expected 2 elements/);
  }
  assert.throws(
    () => couplingToFixed(lane, ints, floats, floats, 2, 31),
    /coupling_to_fixed: fraction is 31/,
  );
  assert.throws(() => couplingFromFixed(lane, floats, ints, 2, -1), /coupling_from_fixed: fraction is -1/);
  assertSame(ints, Int32Array.of(7, 8));
});

Deno.test("softcap() and crossEntropy() refuse a cap that is none", () => {
  using lane = new NativeContext({ threads: 1 });
  for (const cap of [0, -1, NaN]) {
    assert.throws(
      () => softcap(lane, new Float32Array(1), 1, cap),
      /softcap: cap is .*, expected more than 0/,
    );
  }
  const [loss, logits] = [new Float32Array(1), new Float32Array(3)];
  assert.throws(
    () => crossEntropy(lane, loss, logits, Int32Array.of(0), 1, 3, 1, -2),
    /cross_entropy: softcap is -2, expected 0 or more/,
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
  const call = (change: Partial<structs.DropoutParams>) => () =>
    dropoutApply(
      lane,
      new Float32Array(1),
      new Float32Array(1),
      1,
      structs.writeDropoutParams({ ...MASK, accumulate: 0, yDtype: MEFT_F32, xDtype: MEFT_F32, ...change }),
    );
  assert.throws(call({ probability: 1 }), /dropout_apply: probability is 1, expected from 0 to below 1/);
  assert.throws(call({ probability: -0.1 }), /probability is -0.1/);
  assert.throws(call({ first: -1 }), /dropout_apply: first is -1/);
  assert.throws(call({ first: 2n ** 63n - 1n }), /first is 9223372036854775807/);
});

Deno.test("ropeApply() refuses a wrong rotary_dim and a position outside the tables, and writes nothing", () => {
  using lane = new NativeContext({ threads: 1 });
  const x = normals(6, 8), before = x.slice(), table = new Float32Array(12);
  for (const [headDim, rotaryDim] of [[3, 3], [2, 4], [4, -2]] as const) {
    assert.throws(
      () => ropeApply(lane, x, table, table, Int32Array.of(0), 1, 1, headDim, rotaryDim, 4, MEFT_F32, 0),
      new RegExp(`rotary_dim is ${rotaryDim}, expected 0 to ${headDim}, head_dim, and even`),
    );
  }
  for (const position of [-1, 4]) {
    assert.throws(
      () => ropeApply(lane, x, table, table, Int32Array.of(0, position, 1), 3, 1, 2, 2, 4, MEFT_F32, 0),
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

Deno.test("embedding calls refuse an id outside of the table and write nothing", () => {
  using lane = new NativeContext({ threads: 1 });
  const descriptor = structs.writeWeightParams({
    dtype: MEFT_F32,
    rows: 3,
    cols: 2,
    rowStride: 2,
    handle: 0,
    offsetBytes: 0,
  });
  for (const bad of [-1, 3]) {
    const y = new Float32Array(4).fill(7), dweight = new Float32Array(6).fill(7);
    const ids = Int32Array.of(0, bad), table = new Float32Array(6);
    const pattern = new RegExp(`ids\\[1\\] is ${bad}, expected 0 to 2`);
    assert.throws(() => embeddingForward(lane, y, ids, table, descriptor, 2, 0), pattern);
    assert.throws(() => embeddingBackward(lane, dweight, ids, new Float32Array(4), 2, 3, 2), pattern);
    assert.ok([...y, ...dweight].every((value) => value === 7), "output was written");
  }
});

Deno.test("linear calls name what is wrong before they write", () => {
  using lane = new NativeContext({ threads: 1 });
  const described = (rows: number, cols: number) =>
    structs.writeWeightParams({ dtype: MEFT_F32, rows, cols, rowStride: cols, handle: 0, offsetBytes: 0 });
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
