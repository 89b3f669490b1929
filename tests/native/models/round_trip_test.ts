// SPDX-License-Identifier: Apache-2.0
/** Streams of coupled layers, undone one after the other: every element of both, at every layer, is the int32 that was there. */
import assert from "node:assert/strict";
import { releasing } from "../../../lib/activations/policy.ts";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import { COUPLING_NAMES } from "../../../lib/adapters/wiring/options.ts";
import { checkedBatch } from "../../../lib/models/engine/check_batch.ts";
import { inputForward } from "../../../lib/models/engine/input.ts";
import { batchSteps, inputOf } from "../../../lib/models/engine/source.ts";
import { openWiring, stackPlaces } from "../../../lib/models/engine/stacks.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { assertSame } from "../../compare.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { created, deep } from "../../fixtures/deep_model.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";

const CASES = [
  { name: "llama", ...modelFixture("llama3_tied") },
  { name: "bert", ...checkpointFixture("encoders/bert_labels") },
];

for (const { name, dir, batch } of CASES) {
  for (const wiring of COUPLING_NAMES) {
    Deno.test(`${wiring} of ${name}: 0 mismatches between streams and those that are rebuilt, 1 to 60 layers`, async () => {
      using kernels = nativeKernels({ compute: "f32" });
      using shallow = openCheckpoint(dir, kernels);
      for (const depth of [1, 2, 12, 24, 48, 60]) {
        const model = deep(shallow, depth);
        const params = created(model, "bottleneck", { wiring }, batch.ids.length);
        const { hooks } = attachAdapter(model, params);
        await releasing(kernels, async () => {
          const [place] = stackPlaces(model.parts);
          const checked = checkedBatch(model, batch);
          const [step] = batchSteps(model, checked, hooks);
          const { x } = inputForward(kernels, place!.stack.input, inputOf(checked, place!));
          const { steps, enter, gradients } = openWiring(step!, place!, x, 0);
          const streams = enter(x);
          const values = (): Int32Array[] => streams.map(({ data }) => (data as Int32Array).slice());
          const dx = gradients(x);
          dx.forEach(({ data }) => kernels.zero(data));
          const undone = [];
          for (const one of steps) {
            const before = values();
            const kept = one.undo!.keep(streams, { how: "least", needsInput: true });
            const mark = kernels.arena.mark();
            const first = await one.forward(streams, streams, undefined, kept);
            kernels.arena.release(mark);
            undone.push({ one, before, kept, first });
            assert.ok(values().some((stream, i) => stream.some((bits, j) => bits !== before[i]![j])));
          }
          for (const { one, before, kept, first } of undone.reverse()) {
            await one.undo!.backward(streams, dx, first, kept);
            assertSame(values(), before);
          }
        });
        params.release();
      }
    });
  }
}
