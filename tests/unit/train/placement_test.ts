// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { assertSame, assertWithin } from "../../compare.ts";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { lora, sparse } from "../../../lib/methods/methods.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { type PlacementChoice, rowPlacement } from "../../../lib/train/placement.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { slowHostLane } from "../../fixtures/slow_lane.ts";
import { parameterBytes, SMALL_SPARSE, smallData, smallModel, smallOptions } from "./small_run.ts";

/** Three steps; what they did, and the parameters after them. */
async function threeSteps(choice: PlacementChoice, kernels = referenceKernels()) {
  using model = smallModel(kernels);
  const run = plan(model, smallOptions(choice));
  const data = trainingSteps(smallData(), batchOptions(run));
  let state = init(run);
  const metrics = [];
  for (let step = 0; step < 3; step++) {
    const [next, did] = await trainStep(run, state, data.next().value);
    state = next;
    metrics.push(did);
  }
  const masters = state.params.parameters.flatMap((parameter) =>
    parameter.kind === "rows" ? [...parameter.matrix.full as Float64Array] : [...parameter.data]
  );
  return { metrics, masters, bytes: parameterBytes(state.params.parameters) };
}

const WAYS: readonly PlacementChoice[] = [
  { placement: "host", halves: 2 },
  { placement: "device" },
  { placement: "device", cachedRows: 4 },
  { placement: "device", cachedRows: 4, halves: 2 },
];

for (const way of WAYS) {
  Deno.test(`training with ${JSON.stringify(way)} is that with the default within rounding`, async () => {
    const [expected, actual] = [await threeSteps({}), await threeSteps(way)];
    for (const [i, { loss, gradNorm, activeNeurons, lanes }] of actual.metrics.entries()) {
      const other = expected.metrics[i] as typeof actual.metrics[0];
      assertWithin("loss", [loss], [other.loss], 1e-11);
      assertWithin("norm", [gradNorm], [other.gradNorm], 1e-10 * other.gradNorm);
      assert.equal(activeNeurons, other.activeNeurons);
      assert.equal(lanes.rows === null, way.placement === "host");
      assert.ok(lanes.rows === null || (lanes.rows.misses > 0 && lanes.upBytes > 0 && lanes.downBytes > 0));
      assert.equal(other.lanes.rows, null);
    }
    // AdamW divides by the root of v, which makes much of differences where gradients are next to nothing.
    assertWithin("parameters", actual.masters, expected.masters, 1e-5);
  });
}

Deno.test("a step's account adds up: the model's lane and what it waited for, and every kind of host work", async () => {
  const { metrics } = await threeSteps({ halves: 2 }, slowHostLane(referenceKernels(), () => 2));
  for (const { lanes, modelMs } of metrics) {
    assert.ok(lanes.modelWaitMs > 2 && lanes.modelMs > 0 && modelMs > 0);
    assert.equal(lanes.bound, "model");
    assert.ok(lanes.hostWaitMs > 0);
    assert.deepEqual(Object.keys(lanes.hostMs), [
      "routing",
      "catchUp",
      "scoring",
      "values",
      "backward",
      "update",
    ]);
  }
});

Deno.test("a step whose host lane fails ends with its text, and the state before it is good", async () => {
  for (const halves of [1, 2] as const) {
    let failing = -1;
    const kernels = slowHostLane(referenceKernels(), (call) => call === failing ? -1 : 0);
    using model = smallModel(kernels);
    const run = plan(model, smallOptions({ halves }));
    const data = trainingSteps(smallData(), batchOptions(run)).next().value;
    const calls = halves * 2 * 2 * data.microBatches.length;
    const [state] = await trainStep(run, init(run), data);
    const before = parameterBytes(state.params.parameters);
    failing = calls + calls - 2; // in the last backward pass of the second step
    await assert.rejects(trainStep(run, state, data), /^Error: the host lane fell over$/);
    assertSame(parameterBytes(state.params.parameters), before);
    failing = -1;
    const [next] = await trainStep(run, state, data);
    assert.equal(next.step, 2);
  }
});

Deno.test("plan() computes with rows on the host and whole unless asked otherwise, with room for what was asked for", () => {
  using model = smallModel();
  const rowsOf = (options: RunOptions = {}) => plan(model, smallOptions(options)).rows;
  assert.deepEqual(rowsOf(), { placement: "host", halves: 1, cachedRows: 48 });
  assert.equal(rowsOf({ cachedRows: 30 }).cachedRows, 30);
  assert.deepEqual(rowPlacement(rowsOf({ placement: "device", cachedRows: 30 })), {
    kind: "device",
    cachedRows: 30,
  });
  assert.deepEqual(rowPlacement(rowsOf()), { kind: "host" });
});

Deno.test("plan() refuses placements that mean nothing, all at once", () => {
  using model = smallModel();
  const union = sparse({ ...SMALL_SPARSE, scope: "union" });
  const problems = (options: PlacementChoice, method = sparse(SMALL_SPARSE)) => {
    try {
      plan(model, smallOptions({ ...options, method }));
    } catch (error) {
      return String(error);
    }
    return "";
  };
  const wrong = problems({ placement: "gpu" as "host", halves: 3 as 2, cachedRows: 0 });
  assert.match(wrong, /placement is "gpu", expected auto, host, device/);
  assert.match(wrong, /halves is 3, expected auto, 1, 2/);
  assert.match(wrong, /cachedRows is 0, expected a whole number of at least 1/);
  assert.match(problems({ halves: 2 }, union), /scope union chooses over the whole micro-batch: use 1/);
  assert.match(problems({ placement: "device" }, lora()), /the lora adapter is always where the model is/);
});
