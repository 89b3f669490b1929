// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { assertSame, assertWithin, largest } from "../../compare.ts";
import { sparse } from "../../../lib/methods/methods.ts";
import { type StepData, trainingSteps } from "../../../lib/data/batches.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { plan, type Run } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { accumulate, NonFiniteError, trainStep } from "../../../lib/train/step.ts";
import { wholeGradients } from "./gradients.ts";
import { parameterBytes, SMALL_SPARSE, smallData, smallModel, smallOptions } from "./small_run.ts";

function firstStep(run: Run): StepData {
  return trainingSteps(smallData(), batchOptions(run)).next().value;
}

Deno.test("accumulate() gives the same loss and gradient for micro-batches of 1, 2, 4 and 8 rows", async () => {
  using model = smallModel();
  const results: { loss: number; gradients: Map<string, Float64Array> }[] = [];
  for (const micro of [8, 4, 2, 1]) {
    const run = plan(model, smallOptions({ batch: { size: 8, micro, seqLen: 12 } }));
    // One step first, because values of zero leave keys and router without a gradient.
    const [state] = await trainStep(run, init(run), firstStep(run));
    const loss = await accumulate(run, state, firstStep(run));
    results.push({ loss, gradients: wholeGradients(state.params.parameters) });
  }
  const [whole, ...parts] = results;
  assert.ok(whole);
  for (const { loss, gradients } of parts) {
    // f64 sums of the same terms in another order: a few ulp of the largest partial sum.
    assertWithin("loss", [loss], [whole.loss], 1e-13 * whole.loss);
    for (const [name, expected] of whole.gradients) {
      assert.ok(largest(expected) > 0, `${name} has a gradient`);
      assertWithin(name, gradients.get(name) ?? [], expected, 1e-11 * largest(expected));
    }
  }
});

Deno.test("accumulate() takes the mean over targets, not the mean of micro-batch means", async () => {
  using model = smallModel();
  const run = plan(model, smallOptions({ batch: { size: 4, micro: 1, seqLen: 12 } }));
  const data = firstStep(run);
  const state = init(run);
  const loss = await accumulate(run, state, data);
  let [sum, means] = [0, 0];
  for (const micro of data.microBatches) {
    const { targetCount } = micro.batch;
    const alone = { ...data, microBatches: [micro], targetCount };
    const mean = await accumulate(run, state, alone);
    sum += mean * targetCount;
    means += mean / data.microBatches.length;
  }
  assertWithin("loss", [loss], [sum / data.targetCount], 1e-12);
  assert.ok(Math.abs(loss - means) > 1e-3, "the batches differ in length, so that the two means differ");
});

Deno.test("trainStep() spends the old state and gives the same bits from the same start", async () => {
  using model = smallModel();
  const bits: Map<string, Uint8Array>[] = [];
  for (let repeat = 0; repeat < 2; repeat++) {
    const run = plan(model, smallOptions());
    const state = init(run);
    const [next, metrics] = await trainStep(run, state, firstStep(run));
    assert.equal(metrics.step, 1);
    assert.equal(next.step, 1);
    assert.ok(metrics.gradNorm > 0 && metrics.activeNeurons > 0 && metrics.tokens > metrics.targets);
    await assert.rejects(trainStep(run, state, firstStep(run)), /state of step 0 is spent/);
    bits.push(parameterBytes(next.params.parameters));
  }
  assertSame(bits[0], bits[1]);
});

Deno.test("trainStep() stops at a non-finite loss before anything changes", async () => {
  using model = smallModel();
  const run = plan(model, smallOptions());
  const [state] = await trainStep(run, init(run), firstStep(run));
  const values = state.params.parameters.find(({ name }) => name.endsWith("1.mlp.meft.values"));
  assert.ok(values?.kind === "rows" && values.matrix.full);
  const { full } = values.matrix;
  const before = full.slice();
  full.fill(NaN);
  const bits = parameterBytes(state.params.parameters);
  const error = await trainStep(run, state, firstStep(run)).then(() => null, (e: unknown) => e);
  assert.ok(error instanceof NonFiniteError);
  assert.match(error.message, /^Step 2: the loss is NaN; nothing was changed/);
  assert.equal(error.examples.length, 4);
  assertSame(parameterBytes(state.params.parameters), bits);
  full.set(before);
  assert.equal((await trainStep(run, state, firstStep(run)))[0].step, 2, "the state is still good");
});

Deno.test("trainStep() refuses a step without targets", async () => {
  using model = smallModel();
  const run = plan(model, smallOptions());
  await assert.rejects(
    trainStep(run, init(run), { ...firstStep(run), targetCount: 0 }),
    /Step 1 has no targets/,
  );
});

Deno.test("trainStep() of recomputed activations gives the bits of stored ones", async () => {
  using model = smallModel();
  const results: Map<string, Uint8Array>[] = [];
  for (const activations of ["store", "recompute"] as const) {
    const run = plan(model, smallOptions({ activations, method: sparse(SMALL_SPARSE) }));
    let [state] = await trainStep(run, init(run), firstStep(run));
    [state] = await trainStep(run, state, firstStep(run));
    results.push(parameterBytes(state.params.parameters));
  }
  assertSame(results[0], results[1]);
});
