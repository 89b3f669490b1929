// SPDX-License-Identifier: Apache-2.0
/** The kernel table over libmeft: what it refuses before C sees it, weights as stored, lanes. */
import assert from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { multipliesBf16 } from "../../lib/native/context.ts";
import { createLedger } from "../../lib/native/ledger.ts";
import type { AdamwStep, NormCall } from "../../lib/ops/kernels/model.ts";
import type { RowMoments } from "../../lib/ops/kernels/rows.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import type { ActivationArray, Floats, RowMatrix, Weight } from "../../lib/tensor/tensor.ts";
import { machineTargets } from "../contract/backends.ts";
import { normals } from "../fixtures/normals.ts";

function rms(weight: Weight): NormCall {
  return { kind: "rms", weight, bias: null, eps: 1e-6, unitOffset: false };
}

function weight(rows: number, cols: number, fields: Partial<Weight> = {}): Weight {
  return {
    name: "w",
    dtype: "f32",
    rows,
    cols,
    data: new Float32Array(rows * cols),
    mapped: null,
    grad: null,
    ...fields,
  };
}

function step(fields: Partial<AdamwStep> = {}): AdamwStep {
  const lrHistory = Float32Array.of(0.1, 0.05, 0.02);
  return {
    step: 1,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weightDecay: 0.01,
    gradScale: 1,
    lrHistory,
    ...fields,
  };
}

function moments(matrix: RowMatrix): RowMoments {
  const count = matrix.rows * matrix.cols;
  return { m: new Float32Array(count), v: new Float32Array(count), lastStep: new Int32Array(matrix.rows) };
}

Deno.test("nativeKernels() multiplies in bf16 where the target does, unless told otherwise", () => {
  for (const target of machineTargets()) {
    using k = nativeKernels({ target });
    assert.equal(k.compute, multipliesBf16(target) ? "bf16" : "f32");
    assert.equal(k.info().target, target);
  }
  using k = nativeKernels({ compute: "f32" });
  assert.deepEqual([k.compute, k.backend, k.float], ["f32", "cpu", "f32"]);
});

Deno.test("nativeKernels() accounts its arena in the ledger it is given", () => {
  const ledger = createLedger();
  using k = nativeKernels({ ledger });
  assert.equal(k.arenaFloats(1000).length, 1000);
  assert.equal(ledger.held.get("activations"), k.arena.bytes);
  assert.ok(k.arena.bytes >= 4000);
});

Deno.test("nativeKernels() refuses arrays of another type or too short, by name", () => {
  using k = nativeKernels({ compute: "f32" });
  const four = k.floats(4);
  assert.throws(() => k.add<Floats>(new Float64Array(4), four), {
    name: "TypeError",
    message: "y is a Float64Array, expected a Float32Array: native kernels take f32",
  });
  assert.throws(() => k.add(four, k.floats(3)), {
    name: "RangeError",
    message: "x has 3 elements, expected 4",
  });
  assert.throws(() => k.activationForward(four, four, new Uint16Array(4), "silu"), {
    name: "TypeError",
    message: "up is bf16, expected f32 here",
  });
  assert.throws(() => k.linearForward(k.floats(6), new Uint16Array(4), weight(3, 2), null, 2, false), {
    name: "NativeError",
    message: /linear_forward: x is bf16 and the product f32, expected compute MEFT_BF16/,
  });
  assert.throws(() => k.copy<ActivationArray>(four, new Uint16Array(4)), {
    name: "TypeError",
    message: "Cannot copy a Uint16Array to a Float32Array",
  });
  for (const other of [3, 5]) {
    assert.throws(() => k.copy(four, k.floats(other)), {
      name: "RangeError",
      message: new RegExp(`${other} elements`),
    });
  }
  const cases: [string, () => void][] = [
    ["y", () => k.linearForward(k.floats(5), four, weight(3, 2), null, 2, false)],
    ["x", () => k.linearForward(k.floats(6), k.floats(3), weight(3, 2), null, 2, false)],
    ["dx", () => k.linearBackwardData(k.floats(3), k.floats(6), weight(3, 2), 2, false)],
    ["dbias", () => k.linearBackwardWeight(k.floats(6), k.floats(2), k.floats(6), four, 2, 3, 2)],
    ["dweight", () => k.embeddingBackward(k.floats(7), Int32Array.of(0), k.floats(2), 4, 2)],
    ["stats", () => k.normForward(four, k.floats(1), four, rms(weight(1, 2)), 2)],
    ["sin", () => k.ropeApply(four, four, k.floats(3), new Int32Array(1), 1, 4, 4, false)],
    ["up", () => k.activationForward(four, four, k.floats(3), "silu")],
    ["logits", () => k.crossEntropy(four, k.floats(11), new Int32Array(4), 3, 1)],
    [
      "lse",
      () =>
        k.attentionForward(
          k.floats(8),
          k.floats(3),
          k.floats(8),
          k.floats(8),
          k.floats(8),
          new Int32Array(4),
          {
            queryRows: 2,
            keyRows: 2,
            heads: 2,
            kvHeads: 2,
            headDim: 2,
            sees: "past",
            window: 0,
            scale: 1,
            softcap: 0,
          },
        ),
    ],
    ["lrHistory", () => k.adamwDense(four, four, four, four, step({ step: 4 }))],
  ];
  for (const [name, call] of cases) {
    assert.throws(call, {
      name: "RangeError",
      message: new RegExp(`^${name} has \\d+ elements, expected \\d+$`),
    });
  }
});

Deno.test("nativeKernels() refuses weights it cannot read, by name", () => {
  using k = nativeKernels();
  const forward = (w: Weight, bias: Weight | null = null) => () =>
    k.linearForward(k.floats(3), k.floats(2), w, bias, 1, false);
  assert.throws(forward(weight(3, 2, { dtype: "f64", data: new Float64Array(6) })), {
    name: "TypeError",
    message: /^"w" is f64: native kernels read f32, bf16 and f16/,
  });
  assert.throws(forward(weight(3, 2, { dtype: "bf16" })), { message: '"w" is bf16 in a Float32Array' });
  assert.throws(forward(weight(3, 2, { data: new Uint16Array(6) })), {
    message: '"w" is f32 in a Uint16Array',
  });
  assert.throws(forward(weight(3, 2, { data: new Float32Array(5) })), {
    message: '"w" has 5 elements, expected 6',
  });
  const mapped = { handle: 1n, offsetBytes: 0 };
  assert.throws(forward(weight(3, 2, { mapped })), {
    message: /must have either data or a mapped file, it has both/,
  });
  assert.throws(forward(weight(3, 2, { data: null })), { message: /it has neither/ });
  assert.throws(forward(weight(3, 2), weight(1, 2)), { message: '"w" is (1,2), expected (1,3)' });
  assert.throws(() => k.normForward(k.floats(4), k.floats(2), k.floats(4), rms(weight(2, 2)), 2), {
    message: '"w" is (2,2), expected (1,2)',
  });
  assert.throws(forward(weight(3, 2, { data: null, mapped: { handle: 2n ** 40n, offsetBytes: 0 } })), {
    name: "NativeError",
    message: /handle 1099511627776 names no mapped file/,
  });
});

Deno.test("rowMatrixWrite() and rowMatrixRead() keep f32 bits and refuse rows outside", () => {
  using k = nativeKernels();
  const matrix = k.rowMatrix(4, 3);
  const values = normals(6, 3);
  k.rowMatrixWrite(matrix, values, 2);
  const all = k.floats(12);
  k.rowMatrixRead(all, matrix, 0);
  assertSame(all.subarray(6), values.slice());
  assertSame(all.subarray(0, 6), k.floats(6));
  for (const firstRow of [-1, 0.5, 3, NaN]) {
    assert.throws(() => k.rowMatrixWrite(matrix, values, firstRow), {
      message: `6 values from row ${firstRow} leave a matrix of 4 rows of 3`,
    });
  }
  const reference: RowMatrix = {
    rows: 1,
    cols: 3,
    hi: new Uint16Array(0),
    lo: new Int16Array(0),
    full: null,
  };
  assert.throws(() => k.rowMatrixRead(k.floats(3), reference, 0), {
    message: "matrix.hi has 0 elements, expected 3",
  });
});

Deno.test("adamwRowsCatchUp() refuses a block that leaves the matrix", () => {
  using k = nativeKernels();
  const matrix = k.rowMatrix(5, 2);
  const catchUp = (block: number) => () =>
    k.adamwRowsCatchUp(matrix, moments(matrix), Int32Array.of(block), 2, true, step());
  catchUp(1)();
  for (const block of [2, -1]) {
    assert.throws(catchUp(block), { message: `block ${block} of 2 rows leaves a matrix of 5 rows` });
  }
});

/** Three steps of row AdamW, all asked for before the first is awaited. */
async function threeSteps(async: boolean, threads: number): Promise<Floats[]> {
  using k = nativeKernels({ async, threads });
  const matrix = k.rowMatrix(64, 33);
  k.rowMatrixWrite(matrix, normals(64 * 33, 4), 0);
  const state = moments(matrix);
  const rows = Int32Array.from({ length: 40 }, (_, i) => (i * 7) % 64);
  const grad = normals(40 * 33, 5);
  const results = [1, 2, 3].map((t) =>
    k.adamwRows(matrix, state, grad, rows, rows.length, "lazy-exact", step({ step: t }))
  );
  for (const result of results) {
    assert.equal(result instanceof Promise, async);
    await result;
  }
  const weights = k.floats(64 * 33);
  k.rowMatrixRead(weights, matrix, 0);
  return [weights, state.m, state.v];
}

Deno.test("a host lane of promises gives the bits of inline calls, in order, for one thread and two", async () => {
  const inline = await threeSteps(false, 1);
  assert.ok(inline[0]?.every((value) => Number.isFinite(value)));
  assertSame(await threeSteps(false, 2), inline);
  assertSame(await threeSteps(true, 1), inline);
  assertSame(await threeSteps(true, 2), inline);
});

Deno.test("a failed call of a host lane rejects, and the next one still runs", async () => {
  using k = nativeKernels({ async: true });
  const matrix = k.rowMatrix(4, 2);
  const state = moments(matrix);
  const update = (row: number) =>
    k.adamwRows(matrix, state, normals(2, 6), Int32Array.of(row), 1, "lazy", step()) as Promise<void>;
  const failed = update(9);
  const next = update(1);
  await assert.rejects(failed, { name: "NativeError", op: "adamw_rows" });
  await next;
  assert.equal(state.lastStep[1], 1);
});

Deno.test("kernels whose contexts were freed say so", async () => {
  const k = nativeKernels({ async: true });
  k[Symbol.dispose]();
  const gone = { message: "This native context was disposed" };
  assert.throws(() => k.add(k.floats(1), k.floats(1)), gone);
  const matrix = k.rowMatrix(1, 1);
  const late = k.adamwRows(matrix, moments(matrix), k.floats(1), Int32Array.of(0), 1, "lazy", step());
  await assert.rejects(async () => await late, gone);
});
