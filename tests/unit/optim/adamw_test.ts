// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { assertSame, assertWithin } from "../../compare.ts";
import { adamwOptimizer, type AdamwOptions, resolveAdamw } from "../../../lib/optim/adamw.ts";
import { clipFactor, globalNorm } from "../../../lib/optim/clip.ts";
import {
  clearGradients,
  type DenseParameter,
  type Parameter,
  type RowParameter,
} from "../../../lib/optim/parameters.ts";
import type { Kernels } from "../../../lib/ops/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { createRowGradients } from "../../../lib/ops/row_gradients.ts";
import fixture from "../../fixtures/optim/adamw.json" with { type: "json" };

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
  const owner = { gradients: createRowGradients(k, rows, cols, { keys: false, slots: rows }) };
  return { kind: "rows", name: "w", matrix, part: "values", owner, trained: true };
}

/** Puts the gradient of a step in place: of active rows only, the last row first. */
function setGradient(parameter: Parameter, step: number): void {
  clearGradients(referenceKernels(), [parameter]);
  if (parameter.kind === "dense") {
    for (let i = 0; i < COUNT; i++) if (parameter.grad) parameter.grad[i] = gradient(step, i);
    return;
  }
  const { gradients } = parameter.owner;
  for (let row = rows - 1; row >= 0; row--) {
    if (!isActive(step, row)) continue;
    const slot = gradients.rowCount++;
    gradients.slots[row] = slot;
    gradients.rows[slot] = row;
    for (let c = 0; c < cols; c++) gradients.values[slot * cols + c] = gradient(step, row * cols + c);
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
    norms.push(globalNorm(k, [parameter]));
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

Deno.test("adamwOptimizer() keeps eight bytes a parameter and four a row, as bytes() says and the ledger holds", () => {
  const k = referenceKernels();
  const optimizer = adamwOptimizer(resolveAdamw().config);
  optimizer.init(k, [denseParameter()]);
  const floatBytes = 8; // the reference backend's floats are f64
  assert.equal(k.ledger.held.get("optimizer"), 2 * floatBytes * COUNT);
  assert.equal(optimizer.bytes({ count: COUNT, rows: null }), 8 * COUNT);
  assert.equal(optimizer.bytes({ count: COUNT, rows }), 8 * COUNT + 4 * rows);
});

Deno.test("clipFactor() is torch's: clip / (norm + 1e-6), never above 1, and 1 without a limit", () => {
  assert.equal(clipFactor(4, 1), 1 / (4 + 1e-6));
  assert.equal(clipFactor(0.5, 1), 1);
  assert.equal(clipFactor(0, 1), 1);
  assert.equal(clipFactor(1e30, null), 1);
});

Deno.test("resolveAdamw() takes published defaults, lets later options win, and lists every mistake", () => {
  const { config, problems } = resolveAdamw({ lr: 1e-5, clip: 0.4 }, { lr: 0.1, schedule: "cosine" });
  assert.deepEqual(problems, []);
  assert.deepEqual(config, {
    lr: 0.1,
    schedule: { kind: "cosine", warmupRatio: 0.02 },
    clip: 0.4,
    clipBy: "all",
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: 0,
    mode: "lazy-exact",
  });
  const wrong = {
    lr: -1,
    beta1: 1,
    beta2: NaN,
    eps: 0,
    weightDecay: Infinity,
    clip: 0,
    clipBy: "row" as "all",
  };
  assert.deepEqual(resolveAdamw(wrong, { schedule: { kind: "linear", warmupRatio: 2 } }).problems, [
    "warmupRatio is 2, expected a number from 0 to 1",
    "lr is -1, expected a number of at least 0, up to 3.4e38",
    "clip is 0, expected a number above 0, or null for no limit",
    "clipBy is row, expected all, layer",
    "beta1 is 1, expected a number from 0 to below 1",
    "beta2 is NaN, expected a number from 0 to below 1",
    "eps is 0, expected a number above 0, up to 3.4e38",
    "weightDecay is Infinity, expected a number of at least 0, up to 3.4e38",
  ]);
  // What f32, in which the kernels compute, rounds to infinity, to nothing, or to 1.
  const far = { lr: 1e39, beta1: 1 - 1e-12, beta2: 1 - 1e-9, eps: 1e-50, weightDecay: 1e308 };
  assert.equal(resolveAdamw(far).problems.length, 5);
});
