// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { loadModel } from "../../../lib/models/load.ts";
import { heldBytes } from "../../../lib/native/ledger.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { measureRates } from "../../../lib/train/rates.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";

openTestDevice();

Deno.test("measureRates() gives rates that are numbers above 0, and gives back what it took", async () => {
  const places = [
    () => nativeKernels({ threads: 1 }),
    () => nativeKernels({ threads: 1, async: true }),
    () => cudaKernels({ host: { threads: 1 }, compute: "f32", blockBytes: 1 << 18 }),
  ];
  for (const open of places) {
    using kernels = open();
    using model = loadModel(modelFixture("llama3_tied").dir, kernels);
    const held = heldBytes(kernels.ledger);
    const rates = await measureRates(model, {
      tokens: 64,
      sparse: { experts: 8, activeExperts: 2, topK: 4 },
    });
    for (const [name, rate] of Object.entries(rates)) {
      assert.ok(rate > 0 && rate < Infinity, `${name}: ${rate}`);
    }
    assert.ok(rates.scoreFlopsPerSecond < 1e13 && rates.modelFlopsPerSecond < 1e13);
    assert.equal(kernels.arena.usedBytes + kernels.hostArena.usedBytes, 0);
    assert.equal(kernels.ledger.held.get("gradients"), 0);
    assert.ok(heldBytes(kernels.ledger) - held < 2 ** 20, "all but its arenas");
  }
});
