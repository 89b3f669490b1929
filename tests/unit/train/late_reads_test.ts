// SPDX-License-Identifier: Apache-2.0
/** Everything that reads what a device holds waits for it: to the bits of kernels that answer at once. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import { saveAdapterFiles } from "../../../lib/adapters/files/adapter_files.ts";
import { parameterSources } from "../../../lib/adapters/finite.ts";
import { writeMergedCheckpoint } from "../../../lib/merge/merged_checkpoint.ts";
import { full, lora, parallel, sparse } from "../../../lib/methods/methods.ts";
import { decodeStep } from "../../../lib/models/engine/decode.ts";
import { createKvCache } from "../../../lib/models/engine/kv_cache.ts";
import { evaluateLoss, forwardLogits } from "../../../lib/models/engine/pass.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import type { AdamwOptions } from "../../../lib/optim/adamw.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { searchFinite } from "../../../lib/tensor/finite.ts";
import { batches } from "../../../lib/train/batches.ts";
import { saveCheckpoint } from "../../../lib/train/checkpoint.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { assertSame } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { lateReads } from "../../fixtures/late_reads.ts";
import { slowHostLane } from "../../fixtures/slow_lane.ts";
import { SMALL_SPARSE, smallData, smallModel, smallOptions } from "./small_run.ts";

/** What two steps, and all that is done with their result, come to. */
async function outcome(kernels: Kernels, options: RunOptions): Promise<unknown> {
  using model = smallModel(kernels);
  const run = plan(model, smallOptions({ steps: 2, ...options }));
  const data = [...batches(run, smallData())];
  const { batch } = data[0]!.microBatches[0]!;
  let state = init(run);
  const steps: unknown[] = [];
  for (const step of data) {
    const [next, { loss, gradNorm }] = await trainStep(run, state, step);
    state = next;
    steps.push([loss, gradNorm]);
  }
  const { params } = state;
  const attached = attachAdapter(model, params, kernels);
  using cache = createKvCache(attached.model, 4);
  const files = await withFolder(async (folder) => {
    const [checkpoints, adapter, merged] = ["checkpoints", "adapter", "merged"].map((name) =>
      join(folder, name)
    ) as [string, string, string];
    for (const made of [checkpoints, merged]) await Deno.mkdir(made);
    const checkpoint = await saveCheckpoint(run, state, "a hash of the data", checkpoints);
    await saveAdapterFiles(model, params, { name: "small", hash: "its hash" }, adapter);
    const changes = [...params.merge?.(kernels) ?? []];
    await writeMergedCheckpoint(model, { changes, config: params.mergedConfig ?? {}, dtype: null }, merged);
    return [checkpoint, adapter, merged].map(tensorFiles);
  });
  return {
    steps,
    files,
    finite: await searchFinite(parameterSources(kernels, params)),
    loss: await evaluateLoss(attached.model, batch, attached.hooks),
    logits: (await forwardLogits(attached.model, batch, attached.hooks)).data,
    next: (await decodeStep(attached.model, cache, [batch.ids.slice(0, 3)], attached.hooks)).data.slice(),
  };
}

/** By name, what the safetensors files of a folder hold. */
function tensorFiles(folder: string): (readonly [string, Uint8Array])[] {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  return names.filter((name) => name.endsWith(".safetensors"))
    .map((name) => [name, Deno.readFileSync(join(folder, name))]);
}

const clipped = (clip: Pick<AdamwOptions, "clip" | "clipBy">) => adamw({ lr: 0.02, ...clip });
const TOGETHER = clipped({ clip: 0.05 });
const BY_LAYER = clipped({ clip: 0.05, clipBy: "layer" });

const RUNS: Readonly<Record<string, RunOptions>> = {
  "the sparse adapter in halves, clipped by layer": {
    method: sparse(SMALL_SPARSE),
    optimizer: BY_LAYER,
    halves: 2,
  },
  "the sparse adapter, recomputed": {
    method: sparse(SMALL_SPARSE),
    optimizer: TOGETHER,
    activations: "recompute",
  },
  "LoRA in halves": { method: lora({ rank: 3, dropout: 0.1 }), optimizer: TOGETHER, halves: 2 },
  "a dense branch": { method: parallel({ neurons: 5 }), optimizer: BY_LAYER },
  "all weights": { method: full(), optimizer: TOGETHER },
};

for (const [name, options] of Object.entries(RUNS)) {
  Deno.test(`a device that is read late gives the same bits: ${name}`, async () => {
    const asked = { read: 0, sumSquares: 0 };
    const late = lateReads(referenceKernels(), (what) => asked[what]++);
    assertSame(await outcome(late, options), await outcome(referenceKernels(), options));
    assert.ok(asked.read > 0 && asked.sumSquares > 0, JSON.stringify(asked));
  });
}

Deno.test("layers that step while backward goes on wait for the sums of their gradients", async () => {
  const options: RunOptions = { method: sparse(SMALL_SPARSE), optimizer: BY_LAYER, halves: 2 };
  const slow = lateReads(slowHostLane(referenceKernels(), (call) => call % 3));
  assertSame(await outcome(slow, options), await outcome(referenceKernels(), options));
});
