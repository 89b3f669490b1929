// SPDX-License-Identifier: Apache-2.0
/** Rows that wait for their optimizer steps, on the CPU: after a flush every bit of weights and moments is that of mode dense. */
import assert from "node:assert/strict";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import type { AdamwOptions } from "../../../lib/optim/adamw.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { plan } from "../../../lib/train/plan.ts";
import { flushState, init } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { assertSameBits } from "../../compare.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "../../unit/train/small_run.ts";

const STEPS = 12;

/** Every array that training leaves, by name; before the flush, how many rows lag. */
async function trained(options: AdamwOptions) {
  using k = nativeKernels({ compute: "f32", threads: 2 });
  using model = smallModel(k);
  const run = plan(model, smallOptions({ optimizer: adamw({ lr: 0.02, ...options }), steps: STEPS }));
  const data = trainingSteps(smallData(), batchOptions(run));
  let state = init(run);
  for (let step = 0; step < STEPS; step++) [state] = await trainStep(run, state, data.next().value);
  const lastSteps = () => [...state.optim.moments.values()].flatMap(({ lastStep }) => [...lastStep ?? []]);
  // A row that was never touched has nothing to catch up on: without decay it stays at step 0.
  const isCurrent = (step: number) => step === STEPS || step === 0;
  const lagging = lastSteps().filter((step) => !isCurrent(step)).length;
  await flushState(run, state);
  assert.ok(lastSteps().every(isCurrent), "nothing lags after a flush");
  const moments = [...state.optim.moments].flatMap(([name, { m, v }]) =>
    [["m", m.slice()], ["v", v.slice()]].map(([which, x]) => [`${which} of ${name}`, x] as const)
  );
  return {
    lagging,
    arrays: new Map([...parameterBytes(state.params.parameters), ...moments] as [string, Uint8Array][]),
  };
}

for (
  const options of [
    {},
    { weightDecay: 0.1 },
    { beta1: 0.95, beta2: 0.6 }, // momentum outlives the second moment
    { beta1: 0, beta2: 0 },
    { clip: null, schedule: "constant" },
    { clip: 0.05, clipBy: "layer" },
  ] satisfies AdamwOptions[]
) {
  Deno.test(`lazy-exact leaves the bits of dense in weights and moments: ${JSON.stringify(options)}`, async () => {
    const dense = await trained({ ...options, mode: "dense" });
    const lazy = await trained({ ...options, mode: "lazy-exact" });
    assert.equal(dense.lagging, 0);
    assert.ok(lazy.lagging > 20, `${lazy.lagging} rows lag`);
    assert.deepEqual([...lazy.arrays.keys()], [...dense.arrays.keys()]);
    for (const [name, expected] of dense.arrays) assertSameBits(name, lazy.arrays.get(name)!, expected);
  });
}
