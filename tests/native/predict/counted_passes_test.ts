// SPDX-License-Identifier: Apache-2.0
/** Passes on kernels that count, against the sums that were written by hand. */
import assert from "node:assert/strict";
import { ACTIVATION_POLICIES, type ActivationPolicyName } from "../../../lib/activations/registry.ts";
import { full, lora, type Method, parallel, sparse } from "../../../lib/methods/methods.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { ropeTableBytes, ropeTableRows } from "../../../lib/models/rope.ts";
import type { MemoryClass } from "../../../lib/native/ledger.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { countedRun } from "../../../lib/predict/counted_passes.ts";
import { plannedBatches } from "../../../lib/train/batch_sizes.ts";
import { predictMemory } from "../../../lib/train/memory.ts";
import { plan, type Run, tokensPerStep } from "../../../lib/train/plan.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { SMALL_SPARSE, smallData, smallOptions } from "../../unit/train/small_run.ts";

const METHODS: readonly Method[] = [
  sparse(SMALL_SPARSE),
  sparse({ ...SMALL_SPARSE, scope: "union", gate: "softmax" }),
  parallel({ neurons: 40 }),
  parallel({ neurons: 16384 }),
  lora({ rank: 3, targets: ["q", "down"] }),
  lora({ rank: 2, dropout: 0.1 }),
  full(),
];

/** Bytes by class that a run takes of the host, counted and by the sums. */
async function bothOf(run: Run): Promise<readonly [counted: number[], sums: number[]]> {
  const { model, adapterKind, optimizer, settings } = run;
  const batches = plannedBatches(run, smallData(), smallData());
  const { bytes } = predictMemory(model, adapterKind, optimizer, settings, batches);
  const counted = countedRun(model, adapterKind, { ...settings, tokensPerStep: tokensPerStep(settings) });
  const { kernels: { counts: { scratch }, ledger }, params } = counted;
  optimizer.init(counted.kernels, params.parameters);
  await counted.train(batches.first, { first: true });
  if (batches.later) await counted.train(batches.later);
  if (batches.evaluation) await counted.evaluate(batches.evaluation);
  const tables = ropeTableBytes(model.config, ropeTableRows(model.config, batches.longest), 4);
  const classes: readonly MemoryClass[] = ["activations", "parameters", "gradients", "optimizer"];
  return [
    [
      ...classes.map((name) => ledger.held.get(name) ?? 0),
      tables + Math.max(2 ** 20, scratch.model, scratch.host),
    ],
    [...classes, "workspace" as const].map((name) => bytes[name] ?? 0),
  ];
}

for (const name of ["llama3_tied", "qwen3_tied", "llama_biases"]) {
  for (const method of METHODS) {
    const options = JSON.stringify(method.adapter.options);
    Deno.test(`countedRun() takes what the sums say, ${name}, ${method.name} ${options}`, async () => {
      for (const activations of Object.keys(ACTIVATION_POLICIES) as ActivationPolicyName[]) {
        for (const [micro, compute] of [[1, "f32"], [4, "f32"], [4, "bf16"], [2, "bf16"]] as const) {
          using k = nativeKernels({ compute });
          using model = openCheckpoint(modelFixture(name).dir, k);
          const batch = { size: 4, micro, seqLen: 12 };
          const run = plan(model, smallOptions({ method, activations, batch, steps: 12 }));
          const [counted, sums] = await bothOf(run);
          assert.deepEqual(counted, sums, `${activations}, micro-batches of ${micro}, ${compute}`);
        }
      }
    });
  }
}
