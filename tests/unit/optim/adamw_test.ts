// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { assertSame, assertSameBits, assertWithin } from "../../compare.ts";
import { adamwOptimizer, type AdamwOptions, resolveAdamw } from "../../../lib/optim/adamw.ts";
import { clipFactor, globalNorm, gradientSquares } from "../../../lib/optim/clip.ts";
import {
  clearGradients,
  type DenseParameter,
  isTrained,
  liveGradient,
  type Parameter,
  parameterCount,
  type RowParameter,
} from "../../../lib/optim/parameters.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { createRowGradients } from "../../../lib/ops/row_gradients.ts";
import fixture from "../../fixtures/optim/adamw.json" with { type: "json" };
import { now } from "../../now.ts";

const { rows, cols, steps } = fixture;
const COUNT = rows * cols;

// The formulas of scripts/fixtures/make_adamw.py.
const start = Float64Array.from({ length: COUNT }, (_, i) => Math.sin(1 + i));
const isActive = (step: number, row: number): boolean => step === 1 || step % (row + 1) === 0;
const gradient = (step: number, i: number): number =>
  isActive(step, Math.floor(i / cols)) ? Math.cos(step * 1.3 + i * 0.7) * (1 + step % 4) : 0;
const rate = (step: number): number => 0.05 * (1 - step / (steps + 1));

function denseParameter(): DenseParameter {
  return {
    kind: "dense",
    name: "w",
    shape: [rows, cols],
    data: start.slice(),
    grad: new Float64Array(COUNT),
  };
}

function rowParameter(k: Kernels): RowParameter {
  const matrix = k.rowMatrix(rows, cols);
  k.rowMatrixWrite(matrix, start, 0);
  const touched = createRowGradients(k, rows, cols, { keys: false, slots: rows });
  return { kind: "rows", name: "w", matrix, gradient: { touched, rows: touched.values } };
}

/** Puts the gradient of a step in place: of active rows only, the last row first. */
function setGradient(parameter: Parameter, step: number): void {
  clearGradients(referenceKernels(), [parameter]);
  if (parameter.kind === "dense") {
    for (let i = 0; i < COUNT; i++) if (parameter.grad) parameter.grad[i] = gradient(step, i);
    return;
  }
  const { touched, rows: sums } = parameter.gradient!;
  for (let row = rows - 1; row >= 0; row--) {
    if (!isActive(step, row)) continue;
    const slot = touched.rowCount++;
    touched.slots[row] = slot;
    touched.rows[slot] = row;
    for (let c = 0; c < cols; c++) sums[slot * cols + c] = gradient(step, row * cols + c);
  }
}

function read(k: Kernels, parameter: Parameter): Float64Array {
  const out = new Float64Array(COUNT);
  if (parameter.kind === "dense") out.set(parameter.data);
  else k.rowMatrixRead(out, parameter.matrix, 0);
  return out;
}

/** Weights (brought up to date) after each step, and the norms before clipping. */
async function trajectory(
  k: Kernels,
  parameter: Parameter,
  options: AdamwOptions,
  flushEvery = 1,
): Promise<{ weights: Float64Array[]; norms: number[] }> {
  const optimizer = adamwOptimizer(resolveAdamw(options).config);
  let state = optimizer.init(k, [parameter]);
  const [weights, norms]: [Float64Array[], number[]] = [[], []];
  for (let step = 1; step <= steps; step++) {
    setGradient(parameter, step);
    norms.push(now(globalNorm(k, [parameter])));
    const gradScale = clipFactor(norms.at(-1) as number, optimizer.clip);
    state = await optimizer.update(k, [parameter], state, { step, lr: rate(step), gradScale });
    if (step % flushEvery === 0) await optimizer.flush(k, [parameter], state, step);
    weights.push(read(k, parameter));
  }
  return { weights, norms };
}

for (const { weightDecay, clip, norms: expectedNorms, weights: expected } of fixture.cases) {
  const title = `weight decay ${weightDecay}, clip ${clip}`;
  for (const kind of ["dense parameter", "rows, dense mode", "rows, lazy-exact mode"] as const) {
    Deno.test(`adamwOptimizer() follows torch.optim.AdamW: ${kind}, ${title}`, async () => {
      const k = referenceKernels();
      const parameter = kind === "dense parameter" ? denseParameter() : rowParameter(k);
      const mode = kind === "rows, lazy-exact mode" ? "lazy-exact" : "dense";
      const { weights, norms } = await trajectory(k, parameter, { weightDecay, clip, mode });
      assertWithin("norms", norms, expectedNorms, 1e-14 * 20);
      for (const [step, values] of Object.entries(expected)) {
        // Learning rates are kept as f32: each step is off by at most its rate times 2^-24, updates are below 4.
        const bound = steps * 0.05 * 2 ** -24 * 4;
        assertWithin(`weights after step ${step}`, weights[Number(step) - 1] ?? [], values, bound);
      }
    });
  }
}

Deno.test("adamwOptimizer() lazy-exact gives the bits of dense after a flush, flushed at every step or only at the end", async () => {
  const k = referenceKernels();
  const options = { weightDecay: 0.1 };
  const dense = await trajectory(k, rowParameter(k), { ...options, mode: "dense" });
  for (const flushEvery of [1, 3, steps]) {
    const lazy = await trajectory(k, rowParameter(k), { ...options, mode: "lazy-exact" }, flushEvery);
    assertSame(lazy.weights.at(-1), dense.weights.at(-1), `flushed every ${flushEvery} steps`);
  }
});

Deno.test("adamwOptimizer() lazy leaves rows without a gradient where they are", async () => {
  const k = referenceKernels();
  const { weights } = await trajectory(k, rowParameter(k), { mode: "lazy" });
  const dense = await trajectory(k, rowParameter(k), { mode: "dense" });
  const last = (rows - 1) * cols; // the last row has gradients at steps 1, 5 and 10
  assertSame(weights[3]?.subarray(last), weights[0]?.subarray(last));
  assert.notDeepEqual(dense.weights[3]?.subarray(last), dense.weights[0]?.subarray(last));
  assert.notDeepEqual(weights[4]?.subarray(last), weights[3]?.subarray(last));
});

Deno.test("adamwOptimizer() keeps two moments of a parameter, as the ledger holds", () => {
  const k = referenceKernels();
  const optimizer = adamwOptimizer(resolveAdamw().config);
  optimizer.init(k, [denseParameter()]);
  const floatBytes = 8; // the reference backend's floats are f64
  assert.equal(k.ledger.held.get("optimizer"), 2 * floatBytes * COUNT);
});

/** Keys and values whose rows are touched together; the keys frozen or not. */
function keysAndValues(k: Kernels, trainedKeys: boolean): { keys: RowParameter; values: RowParameter } {
  const values = rowParameter(k);
  const touched = createRowGradients(k, rows, cols, { keys: trainedKeys, slots: rows });
  const keys = { ...rowParameter(k), name: "k", gradient: touched.keys && { touched, rows: touched.keys } };
  return { keys, values: { ...values, gradient: { touched, rows: touched.values } } };
}

Deno.test("init() makes moments for what is trained alone", () => {
  const k = referenceKernels();
  const frozen: DenseParameter = { ...denseParameter(), name: "frozen", grad: null };
  const { keys, values } = keysAndValues(k, false);
  const { moments } = adamwOptimizer(resolveAdamw().config).init(k, [frozen, denseParameter(), keys]);
  assert.deepEqual([...moments.keys()], ["w"]);
  assert.equal(k.ledger.held.get("optimizer"), 2 * 8 * COUNT);
  assert.equal(moments.get("w")?.lastStep, null);
  const ofRows = adamwOptimizer(resolveAdamw().config).init(k, [keys, values]).moments;
  assert.deepEqual([...ofRows.keys()], ["w"]);
  assertSame(ofRows.get("w")?.lastStep, new Int32Array(rows));
  assert.equal(k.ledger.held.get("optimizer"), 2 * 2 * 8 * COUNT + 4 * rows);
});

Deno.test("update() moves neither what is frozen nor its moments, and names what it has no state for", async () => {
  const k = referenceKernels();
  const optimizer = adamwOptimizer(resolveAdamw({ mode: "dense", weightDecay: 0.5 }).config);
  const frozen: DenseParameter = { ...denseParameter(), name: "frozen", grad: null };
  const { keys } = keysAndValues(k, false);
  const moved = denseParameter();
  moved.grad!.fill(1);
  const state = optimizer.init(k, [frozen, keys, moved]);
  await optimizer.update(k, [frozen, keys, moved], state, { step: 1, lr: 0.1, gradScale: 1 });
  assertSameBits("frozen", frozen.data, start);
  assertSameBits("keys", read(k, keys), start);
  assert.ok(moved.data.every((x, i) => x !== start[i]));
  // Nor does a flush of what may lag.
  const lazy = adamwOptimizer(resolveAdamw({ mode: "lazy-exact" }).config);
  await lazy.flush(k, [frozen, keys, moved], lazy.init(k, [frozen, keys, moved]), 3);
  assertSameBits("keys", read(k, keys), start);
  const other = { ...denseParameter(), name: "other" };
  await assert.rejects(
    optimizer.update(k, [other], state, { step: 2, lr: 0.1, gradScale: 1 }),
    /The optimizer has no state for parameter "other"/,
  );
});

Deno.test("update() remembers the rate of every step, beyond each growth of the history, as do rows that step in a pass", async () => {
  const k = referenceKernels();
  const optimizer = adamwOptimizer(resolveAdamw().config);
  const parameter = denseParameter();
  let state = optimizer.init(k, [parameter]);
  const rates = Float32Array.from({ length: 300 }, (_, i) => 1 + i / 7);
  for (const [i, lr] of rates.entries()) {
    state = await optimizer.update(k, [parameter], state, { step: i + 1, lr, gradScale: 0.5 });
    assert.ok(state.lrHistory.length > i);
  }
  assertSameBits("rates", state.lrHistory.subarray(0, 300), rates);
  const { keys, values } = keysAndValues(k, true);
  const ofRows = { ...optimizer.init(k, [keys, values]), lrHistory: state.lrHistory };
  const { adam } = optimizer.rowStep(ofRows, { step: 301, lr: 9, gradScale: 1 });
  assertSameBits("rates", adam.lrHistory.subarray(0, 301), Float32Array.of(...rates, 9));
});

Deno.test("rowStep() gives rows their own moments, and the step as update() takes it", () => {
  const k = referenceKernels();
  const options = { clip: 0.3, beta1: 0.8, beta2: 0.95, eps: 1e-3, weightDecay: 0.01 };
  for (const [clipBy, clip] of [["all", null], ["layer", 0.3]] as const) {
    for (const mode of ["dense", "lazy", "lazy-exact"] as const) {
      const optimizer = adamwOptimizer(resolveAdamw(options, { clipBy, mode }).config);
      const { keys, values } = keysAndValues(k, true);
      const state = optimizer.init(k, [keys, values]);
      const row = optimizer.rowStep(state, { step: 2, lr: 0.5, gradScale: 0.25 });
      const { m, lastStep } = row.moments(keys);
      assert.ok(m === state.moments.get("k")?.m && lastStep === state.moments.get("k")?.lastStep);
      assert.equal(row.moments(values).v, state.moments.get("w")?.v);
      const { lrHistory, ...rest } = row.adam;
      const { clip: _, ...hyper } = options;
      assert.deepEqual(rest, { ...hyper, step: 2, gradScale: 0.25 });
      assert.equal(lrHistory[1], 0.5);
      assert.deepEqual([row.mode, row.clip], [mode, clip]);
    }
  }
});

Deno.test("behind() tells of trained rows in mode lazy-exact once a step was taken", () => {
  const k = referenceKernels();
  for (const mode of ["dense", "lazy", "lazy-exact"] as const) {
    const optimizer = adamwOptimizer(resolveAdamw({ mode }).config);
    const { keys, values } = keysAndValues(k, false);
    const state = { ...optimizer.init(k, [keys, values]), lrHistory: Float32Array.of(3, 4) };
    assert.equal(optimizer.behind(values, state, 0), null);
    assert.equal(optimizer.behind(keys, state, 2), null);
    const found = optimizer.behind(values, state, 2);
    assert.equal(found !== null, mode === "lazy-exact");
    if (found === null) continue;
    assert.equal(found.moments.m, state.moments.get("w")?.m);
    assert.equal(found.moments.lastStep, state.moments.get("w")?.lastStep);
    assert.equal(found.step.step, 2);
    assert.equal(found.step.gradScale, 1);
    assert.equal(found.step.lrHistory, state.lrHistory);
  }
});

Deno.test("globalNorm() is over what is trained, and takes sums of squares that are known", () => {
  const k = referenceKernels();
  const frozen: DenseParameter = { ...denseParameter(), grad: null };
  const one: DenseParameter = { ...denseParameter(), name: "a", grad: Float64Array.of(3, 0) };
  const other: DenseParameter = { ...denseParameter(), name: "b", grad: Float64Array.of(0, 4) };
  assert.equal(now(globalNorm(k, [frozen, one, other])), 5);
  assert.equal(now(globalNorm(k, [one, other], new Map([[one, 128]]))), 12);
  assert.deepEqual([...now(gradientSquares(k, [frozen, other, one])).values()], [16, 9]);
  assert.ok(Number.isNaN(now(globalNorm(k, [{ ...one, grad: Float64Array.of(NaN, 1) }]))));
});

Deno.test("parameters tell what is trained, how large they are, and the part of a gradient that is in use", () => {
  const k = referenceKernels();
  const { keys, values } = keysAndValues(k, true);
  const frozen: DenseParameter = { ...denseParameter(), grad: null };
  const { touched } = values.gradient!;
  assert.deepEqual([keys, values, frozen, denseParameter()].map(isTrained), [true, true, false, true]);
  assert.equal(isTrained({ ...values, gradient: null }), false);
  assert.deepEqual([keys, frozen].map(parameterCount), [COUNT, frozen.data.length]);
  touched.rowCount = 2;
  keys.gradient!.rows.fill(1);
  assert.equal(liveGradient(keys).length, 2 * cols);
  assert.equal(liveGradient(keys).buffer, keys.gradient!.rows.buffer);
  assert.equal(liveGradient(values).buffer, values.gradient!.rows.buffer);
  for (const one of [frozen, keysAndValues(k, false).keys]) {
    assert.throws(() => liveGradient(one), /is frozen: it has no gradient/);
  }
  const dense = denseParameter();
  dense.grad!.fill(3);
  touched.rows.set([4, 1]);
  touched.slots[4] = 0;
  touched.slots[1] = 1;
  clearGradients(k, [dense, frozen, keys]);
  assert.ok(dense.grad!.every((x) => x === 0));
  assert.equal(touched.rowCount, 0);
  assert.ok(touched.slots.every((slot) => slot === -1));
});
