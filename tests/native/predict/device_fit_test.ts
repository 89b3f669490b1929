// SPDX-License-Identifier: Apache-2.0
/** A device whose memory is out: what its error says, that what it advises fits, and that nothing is left behind. */
import assert from "node:assert/strict";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { NativeError, UserError } from "../../../lib/core/errors.ts";
import { lora, parallel, sparse } from "../../../lib/methods/methods.ts";
import { type CudaKernels, cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { MEFT_OUT_OF_MEMORY } from "../../../lib/native/symbols.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { FORECAST } from "../../../lib/predict/train.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { withinDevice } from "../../../lib/train/within_device.ts";
import { init, releaseState } from "../../../lib/train/state.ts";
import { type StepMetrics, trainStep } from "../../../lib/train/step.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { SMALL_SPARSE, smallData, smallModel, smallOptions } from "../../unit/train/small_run.ts";

const { backend } = openTestDevice();
/** Small, so that what activations need shows in what they reserve. */
const BLOCK_BYTES = 1 << 12;
const ADVICE = /what would fit:(?: --micro-batch-size (\d+))?(?: --activations (recompute))?$/;

/** A run over full rows, so that the plan's sizes are the data's. */
function fullRun(k: CudaKernels, options: RunOptions): { run: Run; dispose: () => void } {
  const model = smallModel(k);
  const run = plan(
    model,
    smallOptions({ batch: { size: 8, micro: 8, seqLen: 12, packing: true }, ...options }),
  );
  return { run, dispose: () => model[Symbol.dispose]() };
}

async function firstStep(run: Run): Promise<StepMetrics> {
  const state = init(run);
  try {
    const data = trainingSteps(smallData(40), batchOptions(run)).next().value;
    const [next, metrics] = await trainStep(run, state, data, undefined, FORECAST);
    releaseState(run, next);
    return metrics;
  } catch (error) {
    if (!state.lease.spent) releaseState(run, state);
    throw error;
  }
}

/** The device's bytes, but for what is kept to be used again. */
const held = (k: CudaKernels, ...classes: string[]): number[] =>
  classes.map((name) => k.device.facts().ledger[name]?.bytes ?? 0);

async function withBytes<T>(bytes: number, work: () => Promise<T>): Promise<T> {
  Deno.env.set("MEFT_EMULATED_BYTES", String(bytes));
  try {
    return await work();
  } finally {
    Deno.env.delete("MEFT_EMULATED_BYTES");
  }
}

/** What a step takes of a device that has room for it. */
async function neededBytes(options: RunOptions): Promise<{ all: number; activations: number }> {
  using k = cudaKernels({ compute: "f32", blockBytes: BLOCK_BYTES });
  k.device.resetPeaks();
  const { run, dispose } = fullRun(k, options);
  await firstStep(run);
  const { ledger } = k.device.facts();
  dispose();
  return { all: k.device.bytes().peak, activations: ledger["activations"]?.peakBytes ?? 0 };
}

const RUNS: readonly (readonly [string, RunOptions])[] = [
  ["sparse", { method: sparse(SMALL_SPARSE) }],
  ["sparse in halves", { method: sparse(SMALL_SPARSE), halves: 2 }],
  ["lora", { method: lora({ rank: 2 }) }],
  ["lora on the upper layer", {
    method: lora({ targets: ["k", "up"], layersToTransform: 1, rankPattern: { up: 5 } }),
  }],
  ["parallel", { method: parallel({ neurons: 6 }) }],
];

for (const [name, options] of RUNS) {
  for (const share of [0.4, 0.75]) {
    Deno.test({
      name: `${name}: with ${share} of the activations' room, ${backend} says what would fit, and it does`,
      ignore: backend === "cuda", // whose memory is as large as it is
      fn: async () => {
        const { all, activations } = await neededBytes(options);
        using k = cudaKernels({ compute: "f32", blockBytes: BLOCK_BYTES });
        await withBytes(all - Math.round((1 - share) * activations), async () => {
          const { run, dispose } = fullRun(k, options);
          const before = held(k, "weights", "parameters", "gradients", "optimizer");
          const error = await firstStep(run).then(() => null, (thrown) => thrown);
          assert.ok(error instanceof UserError, `${error}`);
          assert.match(error.message, /^The device is out of memory: /);
          assert.match(
            error.message,
            /(activations|workspace) asked the device for [\d.]+ KiB, [\d.]+ KiB are free/,
          );
          assert.match(error.message, /\(held: .*weights [\d.]+ [KM]iB/);
          const advice = ADVICE.exec(error.message);
          assert.ok(advice, error.message);
          assert.deepEqual(held(k, "weights", "parameters", "gradients", "optimizer"), before);
          dispose(); // rotary tables too
          assert.deepEqual(held(k, "activations", "workspace"), [0, 0]);

          const micro = Number(advice[1] ?? 8);
          const activations = (advice[2] ?? "store") as "store" | "recompute";
          assert.ok(micro < 8 || activations === "recompute");
          const fitting = fullRun(k, {
            ...options,
            activations,
            batch: { size: 8, micro, seqLen: 12, packing: true },
          });
          const { loss } = await firstStep(fitting.run);
          assert.ok(Number.isFinite(loss));
          fitting.dispose();
          assert.deepEqual(held(k, "weights", "parameters", "gradients", "optimizer"), [0, 0, 0, 0]);
        });
      },
    });
  }
}

Deno.test({
  name: `${backend} that has no room beside the weights says that no micro-batch would fit`,
  ignore: backend === "cuda",
  fn: async () => {
    using k = cudaKernels({ compute: "f32", blockBytes: BLOCK_BYTES });
    const { run, dispose } = fullRun(k, { method: lora({ rank: 2 }) });
    const before = k.device.bytes().held;
    await withBytes(before + 4096, async () => {
      await assert.rejects(
        withinDevice(run, () => init(run), FORECAST),
        /gradients asked the device for .* no micro-batch fits beside that.* take a smaller model or adapter/,
      );
    });
    assert.equal(k.device.bytes().held, before);
    const refusal = new NativeError(
      "pinned_reserve",
      MEFT_OUT_OF_MEMORY,
      "the system refused 1 GiB of pinned memory",
    );
    await assert.rejects(withinDevice(run, () => Promise.reject(refusal)), refusal);
    dispose();
  },
});
