// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter's backward pass in every mode, on random shapes, against central differences. */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import { randomNormal } from "../../../lib/core/rng.ts";
import type { Gate, Scope } from "../../../lib/ops/kernels/rows.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { createRowGradients } from "../../../lib/ops/row_gradients.ts";
import {
  sparseBackward,
  type SparseConfig,
  sparseForward,
  type SparseParams,
  type SparseResiduals,
} from "../../../lib/ops/sparse.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";
import { assertMatchesDifferences, weightedSum } from "../../compare.ts";

interface Problem {
  readonly seed: number;
  readonly tokens: number;
  readonly hidden: number;
  readonly perExpert: number;
  readonly trainedKeys: boolean;
  readonly config: SparseConfig;
}

const problems: fc.Arbitrary<Problem> = fc.integer({ min: 1, max: 4 }).chain((experts) =>
  fc.record({
    seed: fc.nat(1000),
    tokens: fc.integer({ min: 0, max: 4 }),
    hidden: fc.integer({ min: 1, max: 5 }),
    perExpert: fc.integer({ min: 1, max: 3 }),
    trainedKeys: fc.boolean(),
    config: fc.record({
      gate: fc.constantFrom<Gate>("raw", "softmax", "sigmoid", "none"),
      scope: fc.constantFrom<Scope>("token", "union"),
      experts: fc.constant(experts),
      activeExperts: fc.integer({ min: 1, max: experts }),
      topK: fc.integer({ min: 1, max: 6 }),
    }),
  })
);

function build(problem: Problem) {
  const { seed, tokens, hidden, perExpert, trainedKeys, config } = problem;
  const k = referenceKernels();
  const neurons = perExpert * config.experts;
  const normal = (stream: number, count: number) => {
    const values = new Float64Array(count);
    randomNormal(values, seed, stream, 1);
    return values;
  };
  const [keys, values] = [k.rowMatrix(neurons, hidden), k.rowMatrix(neurons, hidden)];
  k.rowMatrixWrite(keys, normal(0, neurons * hidden), 0);
  k.rowMatrixWrite(values, normal(1, neurons * hidden), 0);
  const params: SparseParams = {
    gateWeight: normal(2, config.experts * hidden),
    gateGrad: new Float64Array(config.experts * hidden),
    keys,
    values,
    gradients: createRowGradients(k, neurons, hidden, { keys: trainedKeys }),
  };
  const h: Tensor & { data: Float64Array } = { shape: [tokens, hidden], data: normal(3, tokens * hidden) };
  const dy: Tensor = { shape: [tokens, hidden], data: normal(4, tokens * hidden) };
  return { k, params, h, dy };
}

/** Row gradients as a whole matrix. */
function spread(compact: ArrayLike<number>, params: SparseParams): Float64Array {
  const { rows, cols } = params.keys;
  const { slots } = params.gradients;
  return Float64Array.from({ length: rows * cols }, (_, i) => {
    const slot = slots[Math.floor(i / cols)] as number;
    return slot < 0 ? 0 : compact[slot * cols + i % cols] as number;
  });
}

function forwardNow(...call: Parameters<typeof sparseForward>): { y: Tensor; residuals: SparseResiduals } {
  const result = sparseForward(...call);
  assert.ok(!(result instanceof Promise), "synchronous kernels give a synchronous result");
  return result;
}

Deno.test("sparseBackward() matches finite differences in every mode on random shapes", () => {
  fc.assert(
    fc.property(problems, (problem) => {
      const { k, params, h, dy } = build(problem);
      const dh: Tensor & { data: Float64Array } = { shape: h.shape, data: new Float64Array(h.data.length) };
      const { residuals } = forwardNow(k, params, h, problem.config);
      sparseBackward(k, params, residuals, h, dy, dh);
      const loss = () => {
        const mark = k.arena.mark();
        const { y } = forwardNow(k, params, h, problem.config);
        const sum = weightedSum(y.data, dy.data);
        k.arena.release(mark);
        return sum;
      };
      const gradients = params.gradients;
      const inputs: Record<string, Float64Array> = {
        h: h.data,
        gateWeight: params.gateWeight as Float64Array,
        values: params.values.full as Float64Array,
      };
      const analytic: Record<string, ArrayLike<number>> = {
        h: dh.data,
        gateWeight: params.gateGrad as Float64Array,
        values: spread(gradients.values, params),
      };
      if (gradients.keys) {
        inputs.keys = params.keys.full as Float64Array;
        analytic.keys = spread(gradients.keys, params);
      }
      // The selection is piecewise constant: a small step keeps clear of its edges.
      assertMatchesDifferences(loss, inputs, analytic, { step: 1e-6, tolerance: 1e-7 });
    }),
    { seed: 20240607, numRuns: 150 },
  );
});

Deno.test("sparseBackward() adds a second micro-batch to rows touched before and writes new ones", () => {
  const problem: Problem = {
    seed: 3,
    tokens: 3,
    hidden: 4,
    perExpert: 4,
    trainedKeys: true,
    config: { gate: "raw", scope: "token", experts: 3, activeExperts: 1, topK: 2 },
  };
  const { k, params, h, dy } = build(problem);
  const other: Tensor = { shape: h.shape, data: h.data.map((x, i) => (i % 3 === 0 ? -x : x)) };
  const whole = (inputs: readonly Tensor[]) => {
    const own: SparseParams = {
      ...params,
      gateGrad: new Float64Array(12),
      gradients: createRowGradients(k, 12, 4, { keys: true }),
    };
    for (const input of inputs) {
      const dh: Tensor = { shape: h.shape, data: new Float64Array(12) };
      sparseBackward(k, own, forwardNow(k, own, input, problem.config).residuals, input, dy, dh);
    }
    const { gradients } = own;
    return [
      spread(gradients.values, own),
      spread(gradients.keys as Float64Array, own),
      own.gateGrad as Float64Array,
    ];
  };
  const [first, second, both] = [whole([h]), whole([other]), whole([h, other])];
  both.forEach((sum, which) =>
    sum.forEach((value, i) => {
      const parts = (first[which]?.[i] as number) + (second[which]?.[i] as number);
      assert.ok(Math.abs(value - parts) <= 1e-14 * (1 + Math.abs(parts)), `gradient ${which}[${i}]`);
    })
  );
});
