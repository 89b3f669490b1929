// SPDX-License-Identifier: Apache-2.0
/** A dry run puts together what its parts predict, each from the right one. */
import assert from "node:assert/strict";
import { lora } from "../../../lib/methods/methods.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { fullBatches, fullLoad, plannedBatches } from "../../../lib/predict/batch_sizes.ts";
import { besideDevice } from "../../../lib/predict/beside_device.ts";
import { predictDevice } from "../../../lib/predict/device_memory.ts";
import { dryRun } from "../../../lib/predict/dry_run.ts";
import { judgeFit } from "../../../lib/predict/fit.ts";
import { predictMemory, processPeakBytes } from "../../../lib/predict/memory.ts";
import { estimateStep } from "../../../lib/predict/time.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { stepWork } from "../../../lib/predict/work.ts";
import { smallData, smallModel, smallOptions } from "../../unit/train/small_run.ts";

const MACHINE = { availableBytes: 1e6, baselineBytes: 12_345, threads: 1 };

Deno.test("dryRun() predicts by the run's data where there is any, else by full rows", async () => {
  using k = nativeKernels({ compute: "bf16", threads: 1 });
  using model = smallModel(k);
  for (const data of [null, smallData()]) {
    const options: RunOptions = { batch: { size: 4, micro: 2, seqLen: 30 }, steps: 9 };
    const evalData = data && smallData(5, 99);
    const run = plan(model, smallOptions(options));
    const found = await dryRun(run, { ...MACHINE, data, evalData });
    const batches = data ? plannedBatches(run, data, evalData) : fullBatches(run.settings);
    const memoryWith = (activations: "store" | "recompute") =>
      predictMemory(plan(model, smallOptions({ ...options, activations })), batches);
    const memory = await memoryWith("store");
    assert.deepEqual(found.memory, memory);
    const store = memory.bytes.activations;
    const recompute = (await memoryWith("recompute")).bytes.activations;
    assert.notEqual(store, recompute);
    assert.deepEqual(found.activationsByPolicy, { store, recompute });
    // Keys and values of two heads of ten columns in two layers, in two bytes.
    assert.equal(found.kvCacheBytesPerSequence, 2 * 2 * 2 * 30 * 2 * 10);
    assert.equal(found.processPeakBytes, processPeakBytes(memory, 12_345));
    assert.deepEqual(found.batches, batches);
    assert.deepEqual(found.load, data ? batches.meanStep : fullLoad(4, 30));
    assert.deepEqual(found.work, await stepWork(run, found.load));
    assert.deepEqual(found.time, estimateStep(found.work, found.load.tokens, found.rates));
    assert.deepEqual(found.fit, await judgeFit(run, memory, 1e6));
    assert.deepEqual(found.device, [
      await predictDevice(run, "host", batches),
      await predictDevice(run, "device", batches),
    ]);
    const { linearForward, linearBackward, attention, sparse, bandwidth } = found.rates;
    for (const rate of [linearForward, linearBackward, attention, sparse, bandwidth]) {
      assert.ok((rate as number) > 1e6 && (rate as number) < 1e15, `${rate}`);
    }
    assert.ok(found.rates.calibrationMs > 100 && found.rates.calibrationMs < 60_000);
  }
});

Deno.test("dryRun() judges the host beside a device by what is left to it", async () => {
  using k = nativeKernels({ compute: "f32", threads: 1 });
  using model = smallModel(k);
  for (const onDevice of ["host", "device"] as const) {
    const run = plan(model, smallOptions());
    const { fit, processPeakBytes: peak, memory } = await dryRun(run, { ...MACHINE, onDevice });
    const whole = await predictMemory(run);
    const beside = besideDevice(whole, await predictDevice(run, onDevice));
    assert.deepEqual(memory, whole);
    assert.equal(peak, processPeakBytes(beside, 12_345));
    assert.deepEqual(fit, await judgeFit(run, beside, 1e6));
  }
  const whole = await dryRun(plan(model, smallOptions({ method: lora({ rank: 2 }) })), {
    ...MACHINE,
    onDevice: "device",
  });
  assert.deepEqual(whole.device.map(({ placement }) => placement), ["device"]);
  assert.equal(whole.rates.sparse, null);
  assert.equal(whole.fit.neededBytes, 0);
});
