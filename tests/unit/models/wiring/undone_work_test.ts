// SPDX-License-Identifier: Apache-2.0
/** What undoing costs: products with weights, and the memory of backward within a layer. */
import assert from "node:assert/strict";
import type { UndoingChoice } from "../../../../lib/activations/policy.ts";
import { lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { COUPLINGS } from "../../../../lib/models/wiring/coupling.ts";
import { chained } from "../../../../lib/models/wiring/plain.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { probeHook } from "../../../fixtures/probe_hook.ts";

/** Products with each weight in a pass forward and back that undoes its layers, by the weight's name. */
async function products(dir: string, undoing: UndoingChoice): Promise<(pattern: RegExp) => number> {
  const counts = new Map<string, number>();
  const plain = referenceKernels();
  const { linearForward } = plain;
  const kernels: Kernels = Object.assign(plain, {
    linearForward(...call: Parameters<Kernels["linearForward"]>) {
      counts.set(call[2].name, (counts.get(call[2].name) ?? 0) + 1);
      linearForward(...call);
    },
  });
  using model = openCheckpoint(dir, kernels);
  const { batch } = dir === DECODER.dir ? DECODER : ENCODER;
  const coupling = {
    of: COUPLINGS.meft1,
    ...{ lambda: 0.25, beta: 1, switched: true, top: "stream", lowest: 0 } as const,
    streams: { kind: "exact", fraction: 20 } as const,
  };
  const branch = new Map([["ffn", [probeHook(0.4, false)]], ["alone", [probeHook(-0.3, false)]]]);
  await lossAndGradients(model, batch, { branch, coupling }, {
    activations: "reversible",
    lossScale: 1,
    undoing,
  });
  return (pattern) => [...counts].reduce((sum, [name, count]) => sum + (pattern.test(name) ? count : 0), 0);
}

const DECODER = modelFixture("qwen2_tied");
const ENCODER = checkpointFixture("encoders/bert_labels");

Deno.test("an anchor spares its layer's largest product, and the lowest layer needs none", async () => {
  const down = /down_proj/;
  const [all, layers] = [await products(DECODER.dir, { anchorEvery: 1000 }), 2];
  assert.equal(all(/up_proj/), 2 * layers);
  assert.equal(all(down), 2 * layers - 1, "the lowest layer's output has no reader");
  const anchored = await products(DECODER.dir, { anchorEvery: 1 });
  assert.equal(anchored(/up_proj/), 2 * layers);
  assert.equal(anchored(down), layers);
});

Deno.test("before a norm too; and where nothing large comes between, the last layer is not run again", async () => {
  const [up, down] = [/intermediate\.dense\.weight/, /layer\.\d+\.output\.dense\.weight/];
  const [all, anchored] = [
    await products(ENCODER.dir, { anchorEvery: 1000 }),
    await products(ENCODER.dir, { anchorEvery: 1 }),
  ];
  const layers = anchored(down);
  assert.equal(all(up), 2 * layers - 1);
  assert.equal(all(down), 2 * layers - 1);
  assert.equal(anchored(up), 2 * layers - 1);
});

Deno.test("a stage goes backward in the place of what the stage above it left", async () => {
  const k = referenceKernels();
  const [KEPT, TAKEN] = [1000, 600];
  const stage = {
    forward: () => Promise.resolve(k.arenaFloats(KEPT)),
    backward: () => Promise.resolve(void k.arenaFloats(TAKEN)),
  };
  const layer = chained(k, [{ stage, needsBackward: true }, { stage, needsBackward: true }]);
  const x = { shape: [1, 8], data: k.arenaFloats(8) };
  const residuals = await layer.forward(x, x);
  k.arena.takePeak();
  k.arenaFloats(1);
  const before = k.arena.takePeak();
  await layer.backward(residuals, x);
  k.arenaFloats(1);
  const most = k.arena.takePeak();
  // Of the upper stage alone: the lower one has its place.
  assert.ok(most <= before + 8 * (TAKEN + 64), `${most} after ${before} bytes`);
});
