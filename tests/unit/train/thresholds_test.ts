// SPDX-License-Identifier: Apache-2.0
/** Runs and adapters beyond the sizes at which histories grow and rows are handled in pieces. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { AdapterParams } from "../../../lib/adapters/adapter.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import { trainingSteps } from "../../../lib/data/batches.ts";
import type { Model } from "../../../lib/models/model.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { loadAdapter, saveAdapter } from "../../../lib/train/adapters.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan } from "../../../lib/train/plan.ts";
import { flushState, init } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { assertSameBits } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { plainSafetensors } from "../../fixtures/plain_safetensors.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "./small_run.ts";

/** More steps than the history of rates has room for at first. */
const MANY_STEPS = 70;
/** More rows than two pieces. */
const MANY_NEURONS = { neurons: 2100, experts: 100, activeExperts: 8, topK: 64 };

function manyNeurons(model: Model): AdapterParams {
  const { adapter } = resolveAdapter({ kind: "sparse", options: MANY_NEURONS }, model.config);
  const params = adapter.create(model.kernels, model, 0);
  params.init(model.kernels, 1);
  return params;
}

function assertSameMaps(actual: Map<string, Uint8Array>, expected: Map<string, Uint8Array>): void {
  assert.deepEqual([...actual.keys()].sort(), [...expected.keys()].sort());
  for (const [name, bytes] of expected) assertSameBits(name, actual.get(name)!, bytes);
}

Deno.test("lazy-exact has the bits of dense when rows lag past the first growth of the rates' history", async () => {
  const all: Map<string, Uint8Array>[] = [];
  for (const mode of ["dense", "lazy-exact"] as const) {
    using model = smallModel();
    const run = plan(model, smallOptions({ optimizer: adamw({ lr: 0.02, mode }), steps: MANY_STEPS }));
    const data = trainingSteps(smallData(), batchOptions(run));
    let state = init(run);
    for (let step = 0; step < MANY_STEPS; step++) [state] = await trainStep(run, state, data.next().value);
    await flushState(run, state);
    all.push(parameterBytes(state.params.parameters));
  }
  assertSameMaps(all[1]!, all[0]!);
});

Deno.test("the adapter that train() saves has the same bytes with lazy-exact as with dense", () =>
  withFolder(async (folder) => {
    const saved: Map<string, Uint8Array>[] = [];
    for (const mode of ["dense", "lazy-exact"] as const) {
      using model = smallModel();
      const out = join(folder, mode);
      const run = plan(model, smallOptions({ out, optimizer: adamw({ lr: 0.02, mode }) }));
      const training = train(run, smallData());
      for await (const _ of training) { /* all steps */ }
      saved.push(plainSafetensors(join(out, "adapter", "adapter_model.safetensors")));
      assertSameMaps(parameterBytes(training.adapter!.parameters), saved.at(-1)!);
    }
    assertSameMaps(saved[1]!, saved[0]!);
  }));

Deno.test("an adapter of more rows than a piece is saved and loaded whole", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const params = manyNeurons(model);
    await saveAdapter(model, params, folder);
    const expected = parameterBytes(params.parameters);
    assertSameMaps(plainSafetensors(join(folder, "adapter_model.safetensors")), expected);
    assertSameMaps(parameterBytes((await loadAdapter(model, folder)).parameters), expected);
  }));

Deno.test("keys beyond the first stream of random numbers are drawn anew, not again", () => {
  using model = smallModel();
  const keys = manyNeurons(model).parameters.find(({ name }) => name.endsWith("0.mlp.meft.keys"));
  assert.ok(keys?.kind === "rows" && keys.matrix.full);
  const { full, cols, rows } = keys.matrix;
  const row = (i: number) => full.subarray(i * cols, (i + 1) * cols).join();
  assert.equal(new Set(Array.from({ length: rows }, (_, i) => row(i))).size, rows);
});
