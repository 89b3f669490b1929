// SPDX-License-Identifier: Apache-2.0
/** AdamW of the reference backend: PyTorch's numbers, and what the modes for rows promise. */
import assert from "node:assert/strict";
import { randomNormal } from "../../../lib/core/rng.ts";
import type { AdamMode, RowMoments } from "../../../lib/ops/kernels/rows.ts";
import type { AdamwStep } from "../../../lib/ops/kernels/model.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { assertSameBits, assertWithin } from "../../compare.ts";

const k = referenceKernels();
const RATES = [0.1, 0.2, 0.05];

function step(number: number, change: Partial<AdamwStep> = {}): AdamwStep {
  const lrHistory = Float64Array.from({ length: number }, (_, i) => RATES[i % RATES.length] as number);
  const shared = { beta1: 0.9, beta2: 0.99, eps: 1e-3, weightDecay: 0.1, gradScale: 1 };
  return { ...shared, step: number, lrHistory, ...change };
}

Deno.test("adamwDense() takes the steps of torch.optim.AdamW in f64, the rate changing", () => {
  const [w, m, v] = [Float64Array.of(0.5, -1.25, 2), new Float64Array(3), new Float64Array(3)];
  const gradients = [[1, -2, 0], [0.5, 0, 0], [-3, 0, 0.25]];
  // torch 2.13, betas (0.9, 0.99), eps 1e-3, weight decay 0.1, rates 0.1, 0.2, 0.05.
  const expected = [
    [0.3950999000999001, -1.1375499750124938, 1.98],
    [0.20074450506244593, -0.9805780939159954, 1.9404],
    [0.21703156541141078, -0.9496820945131557, 1.8991186873695431],
  ];
  gradients.forEach((grad, i) => {
    k.adamwDense(w, m, v, Float64Array.from(grad, (g) => 4 * g), step(i + 1, { gradScale: 0.25 }));
    assertWithin(`w after step ${i + 1}`, w, expected[i] as number[], 1e-14);
  });
  assertWithin("m", m, [-0.174, -0.162, 0.025], 1e-15);
  assertWithin("v", v, [0.102276, 0.039204, 0.000625], 1e-15);
});

const [ROWS, COLS, STEPS] = [5, 3, 7];
/** Rows with a gradient at a step: row 4 never. */
const touched = (number: number) => [0, 1, 2, 3].filter((row) => number % (row + 1) === 0);

async function trainRows(mode: AdamMode, change: Partial<AdamwStep> = {}) {
  const matrix = k.rowMatrix(ROWS, COLS);
  const moments: RowMoments = {
    m: new Float64Array(ROWS * COLS),
    v: new Float64Array(ROWS * COLS),
    lastStep: new Int32Array(ROWS),
  };
  const start = new Float64Array(ROWS * COLS);
  randomNormal(start, 1, 0, 1);
  k.rowMatrixWrite(matrix, start, 0);
  for (let number = 1; number <= STEPS; number++) {
    const rows = Int32Array.from(touched(number));
    const grad = new Float64Array(rows.length * COLS);
    randomNormal(grad, 2, number, 1);
    await k.adamwRows(matrix, moments, grad, rows, rows.length, mode, step(number, change));
  }
  return { matrix, moments, w: matrix.full as Float64Array };
}

Deno.test("adamwRows() of mode dense is adamwDense() of the whole matrix, zero where there is no gradient", async () => {
  const { w, moments } = await trainRows("dense");
  const [all, m, v] = [1, 1, 1].map(() => new Float64Array(ROWS * COLS)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  randomNormal(all, 1, 0, 1);
  for (let number = 1; number <= STEPS; number++) {
    const rows = touched(number);
    const [compact, whole] = [new Float64Array(rows.length * COLS), new Float64Array(ROWS * COLS)];
    randomNormal(compact, 2, number, 1);
    rows.forEach((row, i) => whole.set(compact.subarray(i * COLS, (i + 1) * COLS), row * COLS));
    k.adamwDense(all, m, v, whole, step(number));
  }
  assertSameBits("w", w, all);
  assertSameBits("m", moments.m, m);
  assertSameBits("v", moments.v, v);
});

Deno.test("adamwRows() of mode lazy-exact is dense, bit for bit, once adamwRowsCatchUp() has flushed", async () => {
  const [dense, lazy] = [await trainRows("dense"), await trainRows("lazy-exact")];
  assert.deepEqual([...lazy.moments.lastStep], [7, 6, 6, 4, 0]);
  await k.adamwRowsCatchUp(lazy.matrix, lazy.moments, Int32Array.of(0, 1, 2, 3, 4), 1, true, step(STEPS));
  assertSameBits("w", lazy.w, dense.w);
  assertSameBits("m", lazy.moments.m, dense.moments.m);
  assertSameBits("v", lazy.moments.v, dense.moments.v);
  assertSameBits("lastStep", lazy.moments.lastStep, dense.moments.lastStep);
});

Deno.test("adamwRows() of mode lazy decays moments in closed form on touch and leaves other rows alone", async () => {
  const plain = { weightDecay: 0 };
  const [dense, lazy] = [await trainRows("dense", plain), await trainRows("lazy", plain)];
  const start = new Float64Array(ROWS * COLS);
  randomNormal(start, 1, 0, 1);
  assertSameBits("the row never touched", lazy.w.slice(4 * COLS), start.slice(4 * COLS));
  assertWithin("the row touched at every step", lazy.w.slice(0, COLS), dense.w.slice(0, COLS), 1e-15);
  // Row 1 was last touched at step 6, its moments then as in the dense run; since then the dense ones decayed once.
  const row = [COLS, 2 * COLS] as const;
  assertWithin("m", lazy.moments.m.slice(...row), dense.moments.m.slice(...row).map((x) => x / 0.9), 1e-14);
  assertWithin("v", lazy.moments.v.slice(...row), dense.moments.v.slice(...row).map((x) => x / 0.99), 1e-14);
  assert.notDeepEqual(lazy.w.slice(...row), dense.w.slice(...row)); // no drift
});
