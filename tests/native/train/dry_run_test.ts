// SPDX-License-Identifier: Apache-2.0
/** A dry run puts together what its parts foretell, each from the right one. */
import assert from "node:assert/strict";
import { lora } from "../../../lib/methods/methods.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { memoryOnData, plannedBatches } from "../../../lib/train/batch_sizes.ts";
import { besideDevice } from "../../../lib/train/beside_device.ts";
import { estimateStep } from "../../../lib/train/calibration.ts";
import { predictDevice } from "../../../lib/train/device_memory.ts";
import { dryRun } from "../../../lib/train/dry_run.ts";
import { judgeFit } from "../../../lib/train/fit.ts";
import { fullBatches, processPeakBytes } from "../../../lib/train/memory.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { fullLoad } from "../../../lib/train/step_load.ts";
import { stepWork } from "../../../lib/train/work.ts";
import { smallData, smallModel, smallOptions } from "../../unit/train/small_run.ts";

const MACHINE = { availableBytes: 1e6, baselineBytes: 12_345, threads: 1 };

Deno.test("dryRun() foretells by the run's data where there is any, else by full rows", async () => {
  using k = nativeKernels({ compute: "bf16", threads: 1 });
  using model = smallModel(k);
  for (const data of [null, smallData()]) {
    const options: RunOptions = { batch: { size: 4, micro: 2, seqLen: 30 }, steps: 9 };
    const evalData = data && smallData(5, 99);
    const run = plan(model, smallOptions(options));
    const found = await dryRun(run, { ...MACHINE, data, evalData });
    const memoryWith = (activations: "store" | "recompute") => {
      const other = plan(model, smallOptions({ ...options, activations }));
      return data ? memoryOnData(other, data, evalData) : other.memory;
    };
    const memory = memoryWith("store");
    assert.deepEqual(found.memory, memory);
    const [store, recompute] = (["store", "recompute"] as const).map((of) =>
      memoryWith(of).bytes.activations
    );
    assert.notEqual(store, recompute);
    assert.deepEqual(found.activationsByPolicy, { store, recompute });
    // Keys and values of two heads of ten columns in two layers, in two bytes.
    assert.equal(found.kvCacheBytesPerSequence, 2 * 2 * 2 * 30 * 2 * 10);
    assert.equal(found.processPeakBytes, processPeakBytes(memory, 12_345));
    const batches = data ? plannedBatches(run, data, evalData) : fullBatches(run.settings);
    assert.deepEqual(found.batches, batches);
    assert.deepEqual(found.load, data ? batches.meanStep : fullLoad(4, 30));
    assert.deepEqual(found.work, stepWork(run, found.load));
    assert.deepEqual(found.time, estimateStep(run, found.load, found.rates));
    assert.deepEqual(found.fit, judgeFit(run, memory, 1e6));
    assert.deepEqual(found.device, [
      predictDevice(run, "host", batches),
      predictDevice(run, "device", batches),
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
    const beside = besideDevice(run.memory, predictDevice(run, onDevice));
    assert.deepEqual(memory, run.memory);
    assert.equal(peak, processPeakBytes(beside, 12_345));
    assert.deepEqual(fit, judgeFit(run, beside, 1e6));
  }
  const whole = await dryRun(plan(model, smallOptions({ method: lora({ rank: 2 }) })), {
    ...MACHINE,
    onDevice: "device",
  });
  assert.deepEqual(whole.device.map(({ placement }) => placement), ["device"]);
  assert.equal(whole.rates.sparse, null);
  assert.equal(whole.fit.neededBytes, 0);
});
