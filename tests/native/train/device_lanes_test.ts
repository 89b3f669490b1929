// SPDX-License-Identifier: Apache-2.0
/**
 * Model, copies and host lane side by side on a device, emulated where there is none. Emulated, every case runs twice: with work
 * done as it is given, and as late as a device may do it, when a wait that is missing anywhere gives other numbers.
 */
import assert from "node:assert/strict";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { type CudaKernels, cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { sparse } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { type StepMetrics, trainStep } from "../../../lib/train/step.ts";
import { assertWithin } from "../../compare.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { slowHostLane } from "../../fixtures/slow_lane.ts";
import { SMALL_SPARSE, smallData, smallModel, smallOptions } from "../../unit/train/small_run.ts";

const { backend } = openTestDevice();
const STEPS = 3;
/** Of losses in f32 from sums in another order. */
const BOUND = 1e-5;

/** Kernels whose work is done late; a real device takes its own time. */
function deviceKernels(late: boolean, compute: "f32" | "bf16" = "f32"): CudaKernels {
  Deno.env.set("MEFT_EMULATED_LATE", late ? "1" : "0");
  try {
    return cudaKernels({ compute, blockBytes: 1 << 20 });
  } finally {
    Deno.env.delete("MEFT_EMULATED_LATE");
  }
}

async function steps(kernels: Kernels, options: RunOptions, count = STEPS): Promise<StepMetrics[]> {
  using model = smallModel(kernels);
  const run = plan(model, smallOptions(options));
  let state = init(run);
  const metrics: StepMetrics[] = [];
  for (const data of trainingSteps(smallData(), batchOptions(run))) {
    const [next, ofStep] = await trainStep(run, state, data);
    metrics.push(ofStep);
    state = next;
    if (metrics.length === count) break;
  }
  return metrics;
}

const WAYS: readonly RunOptions[] = [
  { halves: 1 },
  { halves: 2 },
  { halves: 2, activations: "recompute" },
  { halves: 2, optimizer: adamw({ lr: 0.02, clip: null }) },
  { halves: 1, batch: { size: 4, micro: 4, seqLen: 12 }, optimizer: adamw({ lr: 0.02, clip: null }) },
  { placement: "device" },
  { placement: "device", cachedRows: 4 },
  { placement: "device", cachedRows: 5, halves: 2, activations: "recompute" },
  { placement: "device", halves: 2, method: sparse({ ...SMALL_SPARSE, gate: "softmax" }) },
];

for (const late of backend === "cuda" ? [false] : [false, true]) {
  const where = `${backend}${late ? ", late" : ""}`;

  for (const way of WAYS) {
    Deno.test(`steps on ${where} give the losses of the CPU: ${JSON.stringify(way)}`, async () => {
      using cpu = nativeKernels({ compute: "f32" });
      using onDevice = deviceKernels(late);
      const [expected, actual] = [await steps(cpu, way), await steps(onDevice, way)];
      for (const [i, { loss, gradNorm, lanes }] of actual.entries()) {
        const other = expected[i] as StepMetrics;
        assertWithin("loss", [loss], [other.loss], [BOUND * other.loss]);
        assertWithin("norm", [gradNorm], [other.gradNorm], [10 * BOUND * other.gradNorm]);
        const same = lanes.downBytes === lanes.upBytes; // h and dy down, y and dh up
        assert.ok(lanes.downBytes > 0 && lanes.upBytes > 0 && same === (way.placement !== "device"));
        assert.ok(lanes.downMs > 0 && lanes.upMs > 0 && lanes.modelMs > 0);
        assert.ok(lanes.modelWaitMs > 0 && lanes.hostWaitMs > 0 && lanes.downWaitMs > 0);
      }
    });
  }

  Deno.test(`rows on ${where} travel as bf16 where products are, and give the losses of placement host`, async () => {
    using onHost = deviceKernels(late, "bf16");
    using onDevice = deviceKernels(late, "bf16");
    // Small steps: AdamW makes a whole one of a gradient that is rounding alone.
    const optimizer = adamw({ lr: 0.001 });
    const expected = await steps(onHost, { optimizer });
    const actual = await steps(onDevice, { optimizer, placement: "device" });
    const losses = (metrics: StepMetrics[]): number[] => metrics.map(({ loss }) => loss);
    // Products on the device round both factors to bf16, those of the host lane keys and values only.
    assertWithin("losses", losses(actual), losses(expected), losses(expected).map((loss) => loss * 2 ** -8));
    const hidden = 24;
    for (const { lanes: { rows, upBytes } } of actual) {
      assert.ok(rows && rows.misses > 0);
      assert.ok(upBytes >= 2 * 2 * hidden * rows.misses);
    }
  });

  Deno.test(`a step on ${where} that fails leaves no gradient in the slots of rows`, async () => {
    using clean = deviceKernels(late);
    const [expected] = await steps(clean, { placement: "device", halves: 2 }, 1);
    using onDevice = deviceKernels(late);
    let failing = true;
    const kernels = slowHostLane(onDevice, (call) => failing && call === 5 ? -1 : 0);
    using model = smallModel(kernels);
    const run = plan(model, smallOptions({ placement: "device", halves: 2 }));
    const data = trainingSteps(smallData(), batchOptions(run)).next().value;
    const state = init(run);
    await assert.rejects(trainStep(run, state, data), /the host lane fell over/);
    failing = false;
    const [, { loss, gradNorm }] = await trainStep(run, state, data);
    assert.deepEqual([loss, gradNorm], [expected?.loss, expected?.gradNorm]);
  });

  Deno.test(`a host lane on ${where} that fails ends its step with its text, and the next one starts`, async () => {
    for (const halves of [1, 2] as const) {
      using expecting = deviceKernels(late);
      const [expected] = await steps(expecting, { halves }, 1);
      // One ring for all: a place that a failure keeps is missing ever after.
      using onDevice = deviceKernels(late);
      for (const failing of [0, 1, 3, 4, 7]) {
        let call = -1;
        const kernels = slowHostLane(onDevice, (n) => (call = n) === failing ? -1 : 0);
        using model = smallModel(kernels);
        const run = plan(model, smallOptions({ halves }));
        const data = trainingSteps(smallData(), batchOptions(run)).next().value;
        const state = init(run);
        await assert.rejects(trainStep(run, state, data), /^Error: the host lane fell over$/);
        assert.ok(call >= failing);
        for (const { arena, hostArena } of [kernels, kernels.twin()]) {
          assert.equal(arena.usedBytes + hostArena.usedBytes, 0);
        }
        let [next, metrics] = await trainStep(run, state, data);
        assert.equal(metrics.loss, expected?.loss);
        if (failing !== 7) continue;
        // More steps than there are places in a ring: none of them was lost.
        for (let again = 0; again < 3; again++) [next, metrics] = await trainStep(run, next, data);
        assert.ok(Number.isFinite(metrics.loss));
      }
    }
  });
}
