// SPDX-License-Identifier: Apache-2.0
import { layersOf } from "../../../lib/models/parts.ts";
import assert from "node:assert/strict";
import { assertSame } from "../../compare.ts";
import { possibleActivations } from "../../../lib/activations/registry.ts";
import { type StepData, trainingSteps } from "../../../lib/data/batches.ts";
import type { AdapterParams } from "../../../lib/adapters/adapter.ts";
import { type Method, parallel, sparse } from "../../../lib/methods/methods.ts";
import { lossAndGradients } from "../../../lib/models/engine/pass.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { clearGradients } from "../../../lib/optim/parameters.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { idleGradients } from "../../../lib/train/idle_gradients.ts";
import { plan } from "../../../lib/train/plan.ts";
import { attachState, init } from "../../../lib/train/state.ts";
import { accumulate, trainStep } from "../../../lib/train/step.ts";
import { wholeGradients } from "./gradients.ts";
import { smallData, smallModel, smallOptions } from "./small_run.ts";

/** Each layer's gradients take more than a MiB: less is not lent. Row gradients have as many rows as tokens can touch. */
const METHODS: readonly Method[] = [
  parallel({ neurons: 8192 }),
  sparse({ neurons: 8192, experts: 2, activeExperts: 2, topK: 1024 }),
];

for (const method of METHODS) {
  for (const activations of possibleActivations(false)) {
    Deno.test(`accumulate() with activations in idle gradients gives the same bits: ${method.name}, ${activations}`, async () => {
      const kernels = referenceKernels();
      using model = smallModel(kernels);
      const run = plan(
        model,
        smallOptions({ method, activations, batch: { size: 2, micro: 1, seqLen: 12 } }),
      );
      const data: StepData = trainingSteps(smallData(), batchOptions(run)).next().value;
      const [state] = await trainStep(run, init(run), data);
      await accumulate(run, state, data);
      const held = wholeGradients(state.params.parameters);

      const { parameters } = state.params;
      clearGradients(kernels, parameters);
      const options = { activations, lossScale: 1 / data.targetCount };
      for (const { batch } of data.microBatches) {
        const attached = attachState(run, state);
        await lossAndGradients(attached.model, batch, attached.hooks, options);
      }
      const apart = wholeGradients(parameters);
      assertSame(held, apart);
    });
  }
}

Deno.test("lossAndGradients() needs less memory of its own with activations in idle memory", async () => {
  const own: number[] = [];
  for (const lend of [true, false]) {
    const kernels = referenceKernels();
    using model = smallModel(kernels);
    const method = parallel({ neurons: 2 });
    const run = plan(model, smallOptions({ method, batch: { size: 4, micro: 4, seqLen: 12 } }));
    const data: StepData = trainingSteps(smallData(), batchOptions(run)).next().value;
    const { hooks } = attachState(run, init(run));
    const memory = layersOf(model.parts).map(() => new Float64Array(1 << 17));
    const idle = {
      untilBackward: (layer: number) => memory.slice(layer, layer + 1),
      beforeBackward: () => {},
    };
    const options = { activations: "store", lossScale: 1, ...(lend && { idle }) } as const;
    for (const { batch } of data.microBatches) await lossAndGradients(model, batch, hooks, options);
    own.push(kernels.arena.bytes);
  }
  const [lent = 0, apart = 0] = own;
  assert.ok(lent < 0.75 * apart, `${lent} bytes with loans, ${apart} without`);
});

Deno.test("idleGradients() lends a layer's gradients of at least a MiB, and on a device those alone that lie there", () => {
  const mib = 2 ** 20 / Float64Array.BYTES_PER_ELEMENT;
  const [large, there, small] = [mib, mib, mib - 1].map((count) => new Float64Array(count));
  const dense = (grad: Float64Array | null) => ({ kind: "dense", grad });
  const row = (rows: ArrayBufferView | null) => ({ kind: "rows", gradient: rows && { rows } });
  const layer = [
    dense(large as Float64Array),
    dense(null),
    dense(small as Float64Array),
    row(null),
    row(there as Float64Array),
  ];
  const params = { byLayer: [[], layer] } as unknown as AdapterParams;
  const host = referenceKernels();
  const device = { holds: (memory: ArrayBufferView) => memory === there };
  const lent = (k: Kernels, at: number) => idleGradients(k, params).untilBackward(at);
  const isAll = (found: readonly ArrayBufferView[], all: readonly unknown[]) =>
    found.length === all.length && all.every((one, i) => one === found[i]);
  assert.ok(isAll(lent(host, 1), [large, there]));
  assert.ok(isAll(lent({ ...host, device } as unknown as Kernels, 1), [there]));
  assert.equal(lent(host, 0).length + lent(host, 2).length, 0);
});
