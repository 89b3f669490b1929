// SPDX-License-Identifier: Apache-2.0
/** LoRA in training: what dropout is a function of, and going on from an adapter that PEFT saved. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame, assertWithin, largest } from "../../compare.ts";
import { lora } from "../../../lib/methods/methods.ts";
import { evaluateLoss, forwardLogits } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Model } from "../../../lib/models/model.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { loadAdapter, openAdapter } from "../../../lib/train/adapters.ts";
import { batches } from "../../../lib/train/batches.ts";
import { loadCheckpoint, saveCheckpoint } from "../../../lib/train/checkpoint.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { attachState, init, type TrainState } from "../../../lib/train/state.ts";
import { accumulate, trainStep } from "../../../lib/train/step.ts";
import { loraFixture } from "../../fixtures/lora_fixture.ts";
import { wholeGradients } from "./gradients.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "./small_run.ts";

const METHOD = lora({ rank: 3, dropout: 0.3 });

/** A run of LoRA with dropout after `steps` steps. */
async function trained(model: Model, steps: number, options: RunOptions = {}): Promise<[Run, TrainState]> {
  const run = plan(model, smallOptions({ method: METHOD, ...options }));
  let state = init(run);
  for (const step of batches(run, smallData())) {
    if (state.step === steps) break;
    [state] = await trainStep(run, state, step);
  }
  return [run, state];
}

Deno.test("dropout does not depend on how a step is cut into micro-batches", async () => {
  using model = smallModel();
  const results: { loss: number; gradients: Map<string, Float64Array> }[] = [];
  for (const micro of [8, 3, 1]) {
    const [run, state] = await trained(model, 1, { batch: { size: 8, micro, seqLen: 12 } });
    const step = [...batches(run, smallData())][1];
    assert.ok(step);
    results.push({
      loss: await accumulate(run, state, step),
      gradients: wholeGradients(state.params.parameters),
    });
  }
  const [whole, ...parts] = results;
  assert.ok(whole);
  for (const { loss, gradients } of parts) {
    assertWithin("loss", [loss], [whole.loss], 1e-12 * whole.loss);
    for (const [name, expected] of whole.gradients) {
      assertWithin(name, gradients.get(name) ?? [], expected, 1e-10 * largest(expected));
    }
  }
});

Deno.test("dropout changes from step to step and with the seed, and is off outside training", async () => {
  using model = smallModel();
  const [run, state] = await trained(model, 2);
  const [step] = [...batches(run, smallData())];
  const batch = step?.microBatches[0]?.batch;
  assert.ok(batch);
  const lossAt = async (training: { step: number; firstToken: number } | undefined, seed = 42) => {
    const { hooks } = attachState({ ...run, settings: { ...run.settings, seed } }, state, training);
    return (await evaluateLoss(model, batch, hooks)).lossSum;
  };
  const place = { step: 3, firstToken: 0 };
  const losses = [
    await lossAt(undefined),
    await lossAt(place),
    await lossAt({ ...place, step: 4 }),
    await lossAt({ ...place, firstToken: 5 }),
    await lossAt(place, 43),
  ];
  assert.equal(new Set(losses).size, losses.length, `${losses}`);
  assert.equal(await lossAt(place), losses[1]);
  // Outside training it is LoRA without dropout.
  const plain = plan(model, smallOptions({ method: lora({ rank: 3 }) }))
    .adapterKind.create(model.kernels, model, 0);
  plain.parameters.forEach((parameter, i) => {
    const trained = state.params.parameters[i];
    if (parameter.kind === "dense" && trained?.kind === "dense") parameter.data.set(trained.data);
  });
  const { hooks } = plain.attach(model.kernels);
  assert.equal((await evaluateLoss(model, batch, hooks)).lossSum, losses[0]);
});

for (const activations of ["store", "recompute"] as const) {
  Deno.test(`a resumed run with dropout and ${activations} ends in the bits of one that was left alone`, async () => {
    using model = smallModel();
    const [, whole] = await trained(model, 5);
    const folder = await Deno.makeTempDir();
    try {
      const [run, half] = await trained(model, 3, { activations });
      const path = await saveCheckpoint(run, half, "data", folder);
      let state = await loadCheckpoint(run, "data", path);
      for (const step of batches(run, smallData(), state)) {
        if (state.step === 5) break;
        [state] = await trainStep(run, state, step);
      }
      assertSame(parameterBytes(state.params.parameters), parameterBytes(whole.params.parameters));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("train() goes on from a LoRA that PEFT saved", async () => {
  const { folder, base } = loraFixture("qwen2_some");
  using model = openCheckpoint(base.dir, referenceKernels());
  const start = await openAdapter(folder);
  const out = await Deno.makeTempDir();
  try {
    const run = plan(model, smallOptions({ method: lora(), start, out: join(out, "run"), steps: 4 }));
    assert.equal(run.adapterKind.config["rank"], 4);
    const loaded = await loadAdapter(model, folder);
    const before = parameterBytes(loaded.parameters);
    const first = init(run);
    assertSame(parameterBytes(first.params.parameters), before);
    const losses: number[] = [];
    for await (const { loss } of train(run, smallData())) losses.push(loss);
    const [step] = [...batches(run, smallData())];
    assert.ok(step);
    const { hooks } = loaded.attach(model.kernels);
    let lossSum = 0;
    for (const { batch } of step.microBatches) lossSum += (await evaluateLoss(model, batch, hooks)).lossSum;
    assertWithin("first loss", [losses[0] as number], [lossSum / step.targetCount], 1e-12);
    const after = await loadAdapter(model, join(out, "run", "adapter"));
    assert.notDeepEqual(parameterBytes(after.parameters), before);
    assert.deepEqual(after.adapter.config, loaded.adapter.config);
    assert.ok(
      (await forwardLogits(model, base.batch, after.attach(model.kernels).hooks)).data.every(isFinite),
    );
  } finally {
    await Deno.remove(out, { recursive: true });
  }
});

Deno.test("plan() refuses options and methods that the adapter to start from does not have", async () => {
  const { folder, base } = loraFixture("qwen2_some");
  using model = openCheckpoint(base.dir, referenceKernels());
  const start = await openAdapter(folder);
  const options = smallOptions({ start });
  assert.throws(() => plan(model, options), /method is "sparse", but .*qwen2_some holds a lora adapter/);
  assert.throws(
    () => plan(model, { ...options, method: lora({ rank: 2 }) }),
    /rank cannot be chosen: .* its own/,
  );
});
