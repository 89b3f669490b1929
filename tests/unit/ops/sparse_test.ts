// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter's op pair: order of work, lanes, room for pairs, ties, growth, inspection, refusals. */
import assert from "node:assert/strict";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import {
  clearTouchedRows,
  createRowGradients,
  growRowGradients,
  rowGradientBytes,
} from "../../../lib/ops/row_gradients.ts";
import {
  inspect,
  sparseBackward,
  type SparseConfig,
  sparseForward,
  type SparseParams,
} from "../../../lib/ops/sparse.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import { assertSameBits } from "../../compare.ts";

const config: SparseConfig = { gate: "none", scope: "token", experts: 2, activeExperts: 1, topK: 1 };

/** D = 2, four neurons in two experts; keys and values are given as rows. */
function adapter(k: Kernels, keys: number[][], values: number[][], router: number[][]): SparseParams {
  const matrix = (rows: number[][]) => {
    const written = k.rowMatrix(rows.length, 2);
    k.rowMatrixWrite(written, Float64Array.from(rows.flat()), 0);
    return written;
  };
  return {
    gateWeight: Float64Array.from(router.flat()),
    gateGrad: new Float64Array(router.length * 2),
    keys: matrix(keys),
    values: matrix(values),
    gradients: createRowGradients(k, keys.length, 2, { keys: true }),
  };
}

const rows = (...data: number[]): Tensor => ({ shape: [data.length / 2, 2], data: Float64Array.from(data) });

const example = (k: Kernels) =>
  adapter(k, [[1, 0], [1, 0], [0, 1], [0, 2]], [[1, 1], [2, 2], [3, 3], [4, 4]], [[1, 0], [0, 1]]);

Deno.test("sparseForward() gives ties to the lowest expert and the lowest neuron", async () => {
  const k = referenceKernels();
  const { y, residuals } = await sparseForward(k, example(k), rows(1, 1, 0, 3), config);
  assert.deepEqual([...residuals.routing.experts], [0, 1]); // logits tie for the first token
  assert.deepEqual([...residuals.pairs.neurons], [0, 3]); // neurons 0 and 1 tie for the first token
  assertSameBits("y", y.data, [1, 1, 24, 24]);
});

Deno.test("sparseForward() drops what is not positive: a token may fire nothing", async () => {
  const k = referenceKernels();
  const { y, residuals } = await sparseForward(k, example(k), rows(-1, -2, 0, 0), { ...config, topK: 4 });
  assert.equal(residuals.pairCount, 0);
  assertSameBits("y", y.data, [0, 0, 0, 0]);
});

Deno.test("sparseForward() of the union scope lets every token use what any token chose, with its own gate", async () => {
  const k = referenceKernels();
  const both = { ...config, scope: "union", gate: "raw" } as const;
  const { y, residuals } = await sparseForward(k, example(k), rows(2, 1, 1, 3), both);
  // Token 0 chooses neuron 0, token 1 chooses neuron 3; the gates are h itself.
  assert.deepEqual([...residuals.pairs.neurons], [0, 3, 0, 3]);
  assert.deepEqual([...residuals.pairs.scores], [4, 2, 1, 18]);
  assertSameBits("y", y.data, [4 + 8, 4 + 8, 1 + 72, 1 + 72]);
});

Deno.test("sparseForward() tries again when the union needs more room than guessed", async () => {
  const k = referenceKernels();
  let calls = 0;
  const counting: Kernels = {
    ...k,
    sparseBranchForward: (...args) => (calls++, k.sparseBranchForward(...args)),
  };
  // Eight directions less than a right angle apart: each token chooses its own neuron, and all fire for all.
  const directions = Array.from({ length: 8 }, (_, j) => [Math.cos(j / 10), Math.sin(j / 10)]);
  const params = adapter(k, directions, directions, [[1, 0]]);
  const union: SparseConfig = { gate: "none", scope: "union", experts: 1, activeExperts: 1, topK: 1 };
  const { y, residuals } = await sparseForward(counting, params, rows(...directions.flat()), union);
  assert.equal(calls, 2, "64 pairs where 16 were guessed");
  assert.equal(residuals.pairCount, 64);
  assert.deepEqual([...residuals.pairs.neurons.subarray(56)], [0, 1, 2, 3, 4, 5, 6, 7]);
  const { y: dense } = await sparseForward(k, params, rows(...directions.flat()), { ...union, topK: 8 });
  assertSameBits("y", y.data, dense.data);
});

Deno.test("sparseForward() waits for its turn and for h, on a lane of promises, and is there at once without", async () => {
  const k = referenceKernels();
  const order: string[] = [];
  const lane: Kernels = {
    ...k,
    sparseBranchForward: async (...args) => {
      await Promise.resolve();
      order.push("branch");
      return k.sparseBranchForward(...args);
    },
  };
  const h = rows(1, 1, 0, 3);
  const slow = await sparseForward(lane, example(k), h, config, {
    ready: () => Promise.resolve().then(() => void order.push("ready")),
    turn: (job) => Promise.resolve().then(() => (order.push("turn"), job())),
  });
  assert.deepEqual(order, ["turn", "ready", "branch"]);
  const now = sparseForward(k, example(k), h, config);
  assert.ok(!(now instanceof Promise));
  assertSameBits("y", slow.y.data, now.y.data);
});

Deno.test("inspect() counts loads, fired neurons and pairs, and outlives the arena", async () => {
  const k = referenceKernels();
  const mark = k.arena.mark();
  const { residuals } = await sparseForward(k, example(k), rows(1, 1, 0, 3, -1, -1), { ...config, topK: 2 });
  const activity = inspect(residuals);
  k.arena.release(mark);
  k.arena.f64(500).fill(NaN);
  assert.deepEqual([...activity.expertLoad], [2, 1]);
  assert.deepEqual([...activity.firedNeurons], [0, 1, 2, 3]);
  assert.deepEqual([...activity.pairsPerToken], [2, 2, 0]);
  assert.equal(activity.meanPairsPerToken, 4 / 3);
  assert.equal(activity.firedFraction, 1);
});

Deno.test("sparseBackward() grows the row gradients, accounts for them, and clearTouchedRows() forgets them", async () => {
  const k = referenceKernels();
  const params = example(k);
  assert.equal(params.gradients.values.length, 0);
  const h = rows(1, 0, 0, 1);
  for (let pass = 1; pass <= 2; pass++) {
    const { residuals } = await sparseForward(k, params, h, { ...config, topK: 2 });
    await sparseBackward(k, params, residuals, h, rows(1, 1, 1, 1), rows(0, 0, 0, 0));
    assert.equal(params.gradients.rowCount, 4);
    assert.deepEqual([...params.gradients.rows], [0, 1, 2, 3]);
    assertSameBits(
      "dvalues",
      params.gradients.values.subarray(0, 8),
      [1, 1, 1, 1, 1, 1, 2, 2].map((g) => g * pass),
    );
  }
  assert.equal(k.ledger.held.get("gradients"), rowGradientBytes(params.gradients));
  clearTouchedRows(params.gradients);
  assert.deepEqual([...params.gradients.slots], [-1, -1, -1, -1]);
  const { residuals } = await sparseForward(k, params, rows(0, 1), config);
  await sparseBackward(k, params, residuals, rows(0, 1), rows(1, 1), rows(0, 0));
  assertSameBits("dvalues after clearing", params.gradients.values.subarray(0, 2), [2, 2]);
});

Deno.test("growRowGradients() keeps the rows there were", () => {
  const k = referenceKernels();
  const small = createRowGradients(k, 10, 2, { keys: false, slots: 2 });
  small.values.set([1, 2, 3, 4]);
  small.rowCount = 2;
  const grown = growRowGradients(k, small, 3, 2);
  assert.ok(grown.values.length >= 10);
  assertSameBits("values", grown.values.subarray(0, 4), [1, 2, 3, 4]);
  assert.equal(grown.keys, null);
  assert.equal(growRowGradients(k, grown, 3, 2), grown);
  assert.equal(growRowGradients(k, grown, 100, 2).values.length, 20, "no more than there are rows");
});

Deno.test("sparseForward() refuses sizes that do not fit, by name", () => {
  const k = referenceKernels();
  const refusal = (change: Partial<SparseConfig>, h: Tensor, message: RegExp) =>
    assert.throws(() => sparseForward(k, example(k), h, { ...config, ...change }), message);
  refusal({ experts: 3 }, rows(1, 1), /neurons is 4, expected a multiple of experts = 3/);
  refusal({ experts: 5 }, rows(1, 1), /experts is 5, expected a whole number from 1 to 4/);
  refusal({ activeExperts: 3 }, rows(1, 1), /activeExperts is 3, expected a whole number from 1 to 2/);
  refusal({ topK: 0 }, rows(1, 1), /topK is 0/);
  refusal({ experts: 1 }, rows(1, 1), /gateWeight has 4 elements, expected 2/);
  refusal({}, { shape: [1, 3], data: new Float64Array(3) }, /h of the sparse adapter has shape \(1,3\)/);
});

Deno.test("sparseBackward() refuses gradients of another shape, by name", async () => {
  const k = referenceKernels();
  const params = example(k);
  const { residuals } = await sparseForward(k, params, rows(1, 1), config);
  assert.throws(
    () => sparseBackward(k, params, residuals, rows(1, 1), rows(1, 1, 1, 1), rows(0, 0)),
    /dy of the sparse adapter has shape \(2,2\), expected \(T,D\) = \(1,2\)/,
  );
});
