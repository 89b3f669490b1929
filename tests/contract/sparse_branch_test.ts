// SPDX-License-Identifier: Apache-2.0
/** The calls that the host lane is handed give the bits of the single kernels that they stand for, on every backend. */
import assert from "node:assert/strict";
import { assertSameBits } from "../compare.ts";
import { createRowGradients } from "../../lib/ops/row_gradients.ts";
import { routedExperts } from "../../lib/ops/sparse_routing.ts";
import type { AdamwStep } from "../../lib/ops/kernels/model.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import type { RowMoments, RowsBehind, SparseBackwardCall, SparseShape } from "../../lib/ops/kernels/rows.ts";
import type { RowMatrix } from "../../lib/tensor/tensor.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { backends } from "./backends.ts";
import { createStage } from "./stage.ts";

const SHAPE: SparseShape = {
  gate: "softmax",
  scope: "token",
  tokens: 13,
  hidden: 19,
  neurons: 40,
  experts: 8,
  activeExperts: 2,
  topK: 3,
};

/** Everything that either way may write, from the same start. */
function scene(k: Kernels) {
  const stage = createStage(k);
  const { tokens, hidden, neurons, experts } = SHAPE;
  const room = tokens * SHAPE.topK;
  const moments = (name: string): RowMoments => ({
    m: stage.normal(`${name}.m`, neurons * hidden, 0.1),
    v: stage.normal(`${name}.v`, neurons * hidden, 0.1).map(Math.abs) as RowMoments["v"],
    lastStep: Int32Array.from({ length: neurons }, (_, row) => 1 + row % 3),
  });
  const step: AdamwStep = {
    step: 4,
    beta1: 0.9,
    beta2: 0.99,
    eps: 1e-8,
    weightDecay: 0.01,
    gradScale: 1,
    lrHistory: stage.values([0.1, 0.2, 0.1, 0.05]),
  };
  return {
    h: stage.normal("h", tokens * hidden),
    dy: stage.normal("dy", tokens * hidden),
    y: k.floats(tokens * hidden),
    dh: k.floats(tokens * hidden).fill(7),
    gateWeight: stage.normal("gateWeight", experts * hidden),
    dgateWeight: stage.normal("dgateWeight", experts * hidden),
    keys: stage.rowMatrix("keys", neurons, hidden),
    values: stage.rowMatrix("values", neurons, hidden),
    behind: { keys: moments("keys"), values: moments("values"), step } satisfies RowsBehind,
    gradients: createRowGradients(k, neurons, hidden, { keys: true, slots: neurons }),
    routing: {
      logits: k.floats(tokens * experts),
      experts: new Int32Array(tokens * SHAPE.activeExperts),
      expertTokens: new Int32Array(experts),
    },
    pairs: {
      offsets: new Int32Array(tokens + 1),
      neurons: new Int32Array(room),
      dots: k.floats(room),
      scores: k.floats(room),
    },
  };
}

type Scene = ReturnType<typeof scene>;

function callOf(
  { h, gateWeight, keys, values, routing, pairs, dy, dh, dgateWeight }: Scene,
): SparseBackwardCall {
  return { shape: SHAPE, h, gateWeight, keys, values, routing, pairs, dy, dh, dgateWeight };
}

async function singly(k: Kernels, s: Scene): Promise<number> {
  const call = callOf(s);
  await k.sparseRoute(call);
  const rows = SHAPE.neurons / SHAPE.experts;
  const experts = routedExperts(s.routing);
  await k.adamwRowsCatchUp(s.keys, s.behind.keys, experts, rows, false, s.behind.step);
  await k.adamwRowsCatchUp(s.values, s.behind.values, experts, rows, false, s.behind.step);
  const count = await k.sparseForward(s.y, call);
  for (let pass = 0; pass < 2; pass++) {
    const first = s.gradients.rowCount;
    s.dh.fill(0);
    k.sparseTouch(s.gradients, s.pairs.neurons, count);
    await k.sparseBackward(call, s.gradients, first);
  }
  return count;
}

async function together(k: Kernels, s: Scene): Promise<number> {
  const call = callOf(s);
  const count = await k.sparseBranchForward(s.y, call, s.behind);
  for (let pass = 0; pass < 2; pass++) await k.sparseBranchBackward(call, s.gradients);
  return count;
}

function assertSameScene(actual: Scene, expected: Scene): void {
  const arrays = ({ routing, pairs, gradients, behind, keys, values, ...rest }: Scene) => ({
    ...rest,
    ...routing,
    ...pairs,
    rows: gradients.rows,
    slots: gradients.slots,
    dkeys: gradients.keys,
    dvalues: gradients.values,
    ...planes("keys", keys),
    ...planes("values", values),
    m: behind.keys.m,
    v: behind.values.v,
    lastStep: behind.keys.lastStep,
  });
  const wanted = arrays(expected);
  for (const [name, array] of Object.entries(arrays(actual))) {
    assertSameBits(name, array ?? [], wanted[name as keyof typeof wanted] ?? []);
  }
  assert.equal(actual.gradients.rowCount, expected.gradients.rowCount);
}

function planes(name: string, { hi, lo, full }: RowMatrix) {
  return { [`${name}.hi`]: hi, [`${name}.lo`]: lo, [`${name}.full`]: full ?? [] };
}

const OPENINGS = [
  { name: "reference", open: () => Object.assign(referenceKernels(), { [Symbol.dispose]: () => {} }) },
  ...backends().map(({ name, open }) => ({ name, open: () => open(2) })),
];

for (const { name, open } of OPENINGS) {
  Deno.test(`sparseBranchForward() and sparseBranchBackward() give the bits of the single kernels: ${name}`, async () => {
    using k = open();
    const [one, other] = [scene(k), scene(k)];
    const count = await singly(k, one);
    assert.ok(count > SHAPE.tokens, "several neurons fire");
    assert.equal(await together(k, other), count);
    assertSameScene(other, one);
    assert.notDeepEqual(one.behind.keys.lastStep, scene(k).behind.keys.lastStep, "rows were behind");
  });
}

Deno.test("sparseBranchForward() adds what it spent on each part to the times of the host lane", async () => {
  using k = (backends()[0] as ReturnType<typeof backends>[0]).open(1);
  await together(k, scene(k));
  for (const part of ["routing", "catchUp", "scoring", "values", "backward"] as const) {
    assert.ok(k.hostTimes[part] > 0, part);
  }
});
