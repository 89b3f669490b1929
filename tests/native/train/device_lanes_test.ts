// SPDX-License-Identifier: Apache-2.0
/**
 * Model, copies and host lane side by side on a device, emulated where there is none. Emulated, every case runs twice: with work
 * done as it is given, and as late as a device may do it, when a wait that is missing anywhere gives other numbers.
 */
import assert from "node:assert/strict";
import type { Kernels } from "../../../lib/ops/kernels.ts";
import { type CudaKernels, cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { type StepMetrics, trainStep } from "../../../lib/train/step.ts";
import { assertWithin } from "../../compare.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { slowHostLane } from "../../fixtures/slow_lane.ts";
import { smallData, smallModel, smallOptions } from "../../unit/train/small_run.ts";

const { backend } = openTestDevice();
const STEPS = 3;
/** Of losses in f32 from sums in another order. */
const BOUND = 1e-5;

/** Kernels whose work is done late; a real device takes its own time. */
function deviceKernels(late: boolean): CudaKernels {
  Deno.env.set("MEFT_EMULATED_LATE", late ? "1" : "0");
  try {
    return cudaKernels({ compute: "f32", blockBytes: 1 << 20 });
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
        assert.ok(lanes.downBytes > 0 && lanes.downBytes === lanes.upBytes, "h and dy down, y and dh up");
        assert.ok(lanes.downMs > 0 && lanes.upMs > 0 && lanes.modelMs > 0);
        assert.ok(lanes.modelWaitMs > 0 && lanes.hostWaitMs > 0 && lanes.downWaitMs > 0);
      }
    });
  }

  Deno.test(`a host lane on ${where} that fails ends its step with its text, and the next one starts`, async () => {
    for (const halves of [1, 2] as const) {
      using expecting = deviceKernels(late);
      const [expected] = await steps(expecting, { halves }, 1);
      for (const failing of [0, 1, 3, 4, 7]) {
        using onDevice = deviceKernels(late);
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
        // More steps than there are places in a ring: none of them was lost.
        let [next, metrics] = await trainStep(run, state, data);
        assert.equal(metrics.loss, expected?.loss);
        for (let again = 0; again < 3; again++) [next, metrics] = await trainStep(run, next, data);
        assert.ok(Number.isFinite(metrics.loss));
      }
    }
  });
}
