// SPDX-License-Identifier: Apache-2.0
/** What memory is foretold and what is then taken, byte for byte. */
import assert from "node:assert/strict";
import { ACTIVATION_POLICIES, type ActivationPolicyName } from "../../../lib/activations/registry.ts";
import type { Method } from "../../../lib/methods/method.ts";
import { full } from "../../../lib/methods/full.ts";
import { lora } from "../../../lib/methods/lora.ts";
import { parallel } from "../../../lib/methods/parallel.ts";
import { sparse } from "../../../lib/methods/sparse.ts";
import { loadModel } from "../../../lib/models/load.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { memoryOnData } from "../../../lib/train/batch_sizes.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan } from "../../../lib/train/plan.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { SMALL_SPARSE, smallData, smallOptions } from "../../unit/train/small_run.ts";

const METHODS: readonly Method[] = [
  sparse(SMALL_SPARSE),
  sparse({ ...SMALL_SPARSE, scope: "union" }),
  parallel({ neurons: 40 }),
  lora({ rank: 3, targets: ["q", "down"] }),
  lora({ rank: 2, dropout: 0.1 }),
  full(),
];

for (const model of ["llama3_tied", "qwen3_tied", "llama_biases"]) {
  // The larger one has gradients of more than a MiB, in which activations lie.
  for (const method of model === "qwen3_tied" ? [...METHODS, parallel({ neurons: 16384 })] : METHODS) {
    for (const activations of Object.keys(ACTIVATION_POLICIES) as ActivationPolicyName[]) {
      const options = JSON.stringify(method.adapter.options);
      Deno.test(`predictMemory() foretells every byte of the arena: ${model}, ${method.name} ${options}, ${activations}`, async () => {
        for (
          const [micro, compute] of [[1, "f32"], [2, "f32"], [4, "f32"], [4, "bf16"], [2, "bf16"]] as const
        ) {
          using k = nativeKernels({ compute });
          using loaded = loadModel(modelFixture(model).dir, k);
          const batch = { size: 4, micro, seqLen: 12 };
          const run = plan(loaded, smallOptions({ method, activations, batch, steps: 12 }));
          const data = smallData();
          const { bytes } = memoryOnData(run, data, data);
          const before = k.ledger.held.get("activations") ?? 0;
          const events = train(run, data, { evalData: data });
          for await (const _ of events);
          const taken = (k.ledger.held.get("activations") ?? 0) - before;
          // Scope union asks again when the first guess of its pairs was too small.
          if (method.adapter.options["scope"] === "union") {
            assert.ok(taken >= (bytes.activations ?? 0) - 4096);
          } else assert.equal(bytes.activations, taken, `micro-batches of ${micro}, ${compute}`);
        }
      });
    }
  }
}
