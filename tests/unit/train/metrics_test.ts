// SPDX-License-Identifier: Apache-2.0
/** What a step says of itself: its time by a clock that only named work moves, its data, its rates, its memory. */
import { hookBeside, hooksOf } from "../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import { parallel } from "../../../lib/methods/methods.ts";
import { heldBytes } from "../../../lib/native/ledger.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { batches } from "../../../lib/train/batches.ts";
import { createLaneTimes, timedHooks, waitAccount } from "../../../lib/train/lanes.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { learningRate, type StepMetrics, trainStep } from "../../../lib/train/step.ts";
import { assertWithin } from "../../compare.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";
import { targetIds } from "../../../lib/data/batch.ts";

type Name = "activationForward" | "sparseBranchForward" | "sparseBranchBackward" | "adamwRows" | "adamwDense";

/** Kernels of which some take time by a clock of their own, in milliseconds; counts their calls. */
function clockedKernels(costs: Readonly<Record<Name, number>>) {
  const reference = referenceKernels();
  const calls = Object.fromEntries(Object.keys(costs).map((name) => [name, 0])) as Record<Name, number>;
  let now = 5;
  const clocked = Object.fromEntries(
    (Object.keys(costs) as Name[]).map((name) => {
      const call = reference[name] as (...args: unknown[]) => unknown;
      return [name, (...args: unknown[]) => {
        now += costs[name];
        calls[name]++;
        return call(...args);
      }];
    }),
  );
  return { kernels: { ...reference, ...clocked } as Kernels, calls, clock: () => now };
}

const COSTS = {
  activationForward: 1,
  sparseBranchForward: 100,
  sparseBranchBackward: 1000,
  adamwRows: 10_000,
  adamwDense: 100_000,
};

async function steps(kernels: Kernels, options: RunOptions, clock?: () => number) {
  using model = smallModel(kernels);
  const run = plan(model, smallOptions(options));
  let state = init(run);
  const metrics: StepMetrics[] = [];
  const data = [...batches(run, smallData())];
  for (const step of data) {
    const [next, did] = await trainStep(run, state, step, clock);
    state = next;
    metrics.push(did);
    assert.equal(did.heldBytes, heldBytes(kernels.ledger));
  }
  return { run, state, metrics, data };
}

Deno.test("a step's time is its model's, its adapter's and its optimizer's, and its rate is by all of it", async () => {
  const { kernels, calls, clock } = clockedKernels(COSTS);
  const { metrics: [first, second] } = await steps(kernels, { steps: 2 }, clock);
  // Two micro-batches of two layers; router, keys and values of two layers.
  assert.deepEqual(calls, {
    activationForward: 8,
    sparseBranchForward: 8,
    sparseBranchBackward: 8,
    adamwRows: 8,
    adamwDense: 4,
  });
  for (const { modelMs, adapterMs, optimizerMs, tokens, tokensPerSecond, lanes } of [first!, second!]) {
    assert.deepEqual([modelMs, adapterMs, optimizerMs], [4, 4 * 1100, 4 * 10_000 + 2 * 100_000]);
    assertWithin("rate", [tokensPerSecond], [tokens / 244.404], 1e-9);
    assert.equal(lanes.modelWaitMs, 0);
  }
});

Deno.test("a step says which step it is, its data, its rate of learning and what it holds", async () => {
  const options = { steps: 5, optimizer: adamw({ lr: 0.5, schedule: { kind: "linear", warmupSteps: 2 } }) };
  const { run, metrics, data } = await steps(referenceKernels(), options);
  assert.deepEqual(metrics.map(({ step }) => step), [1, 2, 3, 4, 5]);
  assert.deepEqual(metrics.map(({ lr }) => lr), [1, 2, 3, 4, 5].map((step) => learningRate(run, step)));
  assert.deepEqual(metrics.map(({ lr }) => lr), [0.25, 0.5, 0.375, 0.25, 0.125]);
  for (const [i, { tokens, targets }] of metrics.entries()) {
    const micros = data[i]!.microBatches.map(({ batch }) => batch);
    assert.equal(tokens, micros.reduce((sum, { ids }) => sum + ids.length, 0));
    const isTarget = (target: number) => target >= 0;
    assert.equal(targets, micros.reduce((sum, batch) => sum + targetIds(batch).filter(isTarget).length, 0));
  }
  const { arena } = run.model.kernels;
  const activations = metrics.map(({ activationBytes }) => activationBytes);
  assert.ok(activations.every((bytes) => bytes > 0 && bytes <= arena.bytes));
  assert.ok(new Set(activations).size > 1, "each step's own peak");
  assert.throws(() => learningRate({ ...run, totalSteps: null }, 1), /The run's steps are not known/);
});

Deno.test("the active neurons of a step are the rows that fired in it, as a mean over layers", async () => {
  const { state, metrics } = await steps(referenceKernels(), { steps: 1 });
  const fired = state.params.layerActivity?.().map(({ firedNeurons }) => new Set(firedNeurons).size) ?? [];
  assert.equal(fired.length, 2);
  assert.equal(metrics[0]?.activeNeurons, ((fired[0] as number) + (fired[1] as number)) / 2);
  const dense = await steps(referenceKernels(), { steps: 1, method: parallel({ neurons: 5 }) });
  assert.ok((dense.metrics[0]?.activeNeurons ?? 0) <= 5);
});

Deno.test("timedHooks() adds what is done at once to one account and what is done beside to another, kind by kind", async () => {
  let now = 0;
  const clock = () => now;
  const times = createLaneTimes();
  const tensor = { shape: [1, 1], data: new Float64Array(1) };
  const take = (ms: number) => void (now += ms);
  const branch = (beside: boolean) => ({
    forward: () => {
      take(1);
      return beside ? Promise.resolve().then(() => take(10)) : undefined;
    },
    backward: () => {
      take(100);
      return beside ? Promise.resolve().then(() => take(1000)) : undefined;
    },
  });
  const linear = { has: (layer: number) => layer === 3, forward: () => take(2), backward: () => take(4) };
  const hooks = timedHooks(hooksOf({ ffn: branch(false), attention: branch(true), linear }), times, clock);
  const [ffn, attention] = ["ffn", "attention"].map((kind) => hookBeside(hooks, kind));
  const product = hooks.linear?.[0];
  ffn?.forward(0, tensor, tensor);
  await ffn?.backward(0, undefined, tensor, tensor, tensor);
  assert.deepEqual(times, { inlineMs: 101, besideMs: 0, ownMs: 0, waitMs: 0 });
  await attention?.forward(0, tensor, tensor);
  assert.deepEqual(times, { inlineMs: 101, besideMs: 11, ownMs: 0, waitMs: 0 });
  await attention?.backward(0, undefined, tensor, tensor, tensor);
  assert.deepEqual(times, { inlineMs: 101, besideMs: 1111, ownMs: 0, waitMs: 0 });
  product?.forward(0, "q", tensor, tensor);
  product?.backward(0, "q", tensor, tensor, null);
  assert.deepEqual(times, { inlineMs: 107, besideMs: 1111, ownMs: 0, waitMs: 0 });
  assert.deepEqual([product?.has(3, "q"), product?.has(2, "q")], [true, false]);
  assert.deepEqual(timedHooks({}, times, clock), {});
  const waits = waitAccount(times, clock, null);
  for (const ms of [5, 6]) {
    waits.begin();
    take(ms);
    waits.end();
    take(50);
  }
  assert.equal(times.waitMs, 11);
});
