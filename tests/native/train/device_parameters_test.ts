// SPDX-License-Identifier: Apache-2.0
/** Parameters that are trained whole live on the device with their gradients and moments, and are saved and read bit for bit. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { openAdapterFiles, saveAdapterFiles } from "../../../lib/adapters/files/adapter_files.ts";
import { readAdapterInto } from "../../../lib/adapters/files/saved_adapter.ts";
import { full, lora, parallel } from "../../../lib/methods/methods.ts";
import { trainingSteps } from "../../../lib/data/batches.ts";
import type { Model } from "../../../lib/models/model.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import type { Parameter } from "../../../lib/optim/parameters.ts";
import type { Floats } from "../../../lib/tensor/tensor.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { loadCheckpoint, saveCheckpoint } from "../../../lib/train/checkpoint.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import { plan, type Run } from "../../../lib/train/plan.ts";
import { init, releaseState, type TrainState } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { assertSameBits } from "../../compare.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { smallData, smallModel, smallOptions } from "../../unit/train/small_run.ts";
import { now } from "../../now.ts";

const { backend } = openTestDevice();
const HASH = "a hash of the data";
/** On the upper layer alone, of ranks of their own. */
const UPPER = {
  ...lora({
    rank: 2,
    targets: ["k", "up"],
    layersToTransform: 1,
    rankPattern: { up: 5 },
    alphaPattern: { k: 3 },
  }),
  name: "lora on the upper layer",
};
const METHODS = [lora({ rank: 2 }), UPPER, parallel({ neurons: 6 }), full()];

const onDevice = () => cudaKernels({ compute: "f32", blockBytes: 1 << 20 });

/** Takes steps up to number `until`. */
async function advance(run: Run, state: TrainState, until: number): Promise<TrainState> {
  let next = state;
  for (const data of trainingSteps(smallData(), batchOptions(run), state.position)) {
    if (next.step === until) break;
    [next] = await trainStep(run, next, data);
  }
  return next;
}

const runOf = (model: Model, method: typeof METHODS[number]): Run => plan(model, smallOptions({ method }));

/** What the host reads of every parameter. */
function values(k: Kernels, parameters: readonly Parameter[]): Map<string, Floats> {
  return new Map(
    parameters.flatMap((parameter) =>
      parameter.kind === "dense" ? [[parameter.name, now(k.read(parameter.data)).slice()]] : []
    ),
  );
}

function assertEqual(actual: Map<string, Floats>, expected: Map<string, Floats>): void {
  assert.deepEqual([...actual.keys()], [...expected.keys()]);
  for (const [name, bits] of expected) assertSameBits(name, actual.get(name) as Floats, bits);
}

for (const method of METHODS) {
  Deno.test(`${method.name}: parameters, gradients and moments live on ${backend}, and leave nothing behind`, async () => {
    using k = onDevice();
    using model = smallModel(k);
    const run = runOf(model, method);
    const state = await advance(run, init(run), 1);
    for (const parameter of state.params.parameters) {
      assert.ok(parameter.kind === "dense" && parameter.grad);
      const { m, v } = state.optim.moments.get(parameter.name) ?? {};
      for (const array of [parameter.data, parameter.grad, m, v]) assert.ok(array && k.device.holds(array));
    }
    const held = (): number[] =>
      ["parameters", "gradients", "optimizer"].map((name) => k.device.facts().ledger[name]?.bytes ?? 0);
    const predicted = await predictMemory(run);
    const { parameters: bytes = 0, optimizer: optimizerBytes = 0, gradients = 0 } = predicted.bytes;
    assert.deepEqual(held(), [bytes, gradients, optimizerBytes]);
    assert.equal(k.ledger.held.get("parameters") ?? 0, 0);
    const { parameters: ofHost, optimizer, gradients: gradientsOfHost, activations } =
      predicted.residentBytes;
    assert.deepEqual([ofHost, optimizer, gradientsOfHost, activations], [0, 0, 0, 0]);
    releaseState(run, state);
    assert.deepEqual(held(), [0, 0, 0]);
  });

  Deno.test(`${method.name}: a checkpoint of ${backend} gives every bit back, there and on the CPU`, () =>
    withFolder(async (folder) => {
      using k = onDevice();
      using model = smallModel(k);
      const run = runOf(model, method);
      const state = await advance(run, init(run), 2);
      const path = await saveCheckpoint(run, state, HASH, folder);
      const saved = values(k, state.params.parameters);
      const ahead = values(k, (await advance(run, state, 4)).params.parameters);
      const resumed = await loadCheckpoint(run, HASH, path);
      assertEqual(values(k, resumed.params.parameters), saved);
      assertEqual(values(k, (await advance(run, resumed, 4)).params.parameters), ahead);

      using cpu = nativeKernels({ compute: "f32" });
      using same = smallModel(cpu);
      const there = await loadCheckpoint(runOf(same, method), HASH, path);
      assertEqual(values(cpu, there.params.parameters), saved);
    }));

  Deno.test(`${method.name}: a saved adapter of ${backend} gives every bit back`, () =>
    withFolder(async (folder) => {
      using k = onDevice();
      using model = smallModel(k);
      const run = runOf(model, method);
      const { params } = await advance(run, init(run), 1);
      await saveAdapterFiles(model, params, run.base, join(folder, "adapter"));
      const other = run.adapterKind.create(k, model, 0);
      readAdapterInto(model, await openAdapterFiles(join(folder, "adapter")), other);
      assertEqual(values(k, other.parameters), values(k, params.parameters));
    }));
}
