// SPDX-License-Identifier: Apache-2.0
/** What passes of an encoder and its decoder take of the arenas, counted to the byte. */
import assert from "node:assert/strict";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import { ADAPTER_KINDS, resolveAdapter } from "../../../lib/adapters/registry.ts";
import type { JsonObject } from "../../../lib/core/json.ts";
import { type Batch, tokenTargets } from "../../../lib/data/batch.ts";
import type { PartPlace } from "../../../lib/models/engine/interleave.ts";
import { evaluateLoss } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { countedRun } from "../../../lib/predict/counted_passes.ts";
import { microBatchGradients } from "../../../lib/train/micro_batch.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";

const OPTIONS: Readonly<Record<string, JsonObject>> = {
  sparse: { neurons: 12, experts: 4, activeExperts: 2, topK: 4 },
  parallel: { neurons: 5 },
  lora: { rank: 2 },
  tokens: { trainableTokenIndices: [3, 5] },
};

/** Two sequences of 6 tokens, written from 14 tokens each, or from 4. */
function batchOf(sourceTokens: number): Batch {
  const half = sourceTokens / 2;
  return {
    ids: new Int32Array(12).fill(4),
    positions: Int32Array.from({ length: 12 }, (_, i) => i % 6),
    starts: Int32Array.of(0, 6, 12),
    source: {
      ids: new Int32Array(sourceTokens).fill(5),
      positions: Int32Array.from({ length: sourceTokens }, (_, i) => i % half),
      starts: Int32Array.of(0, half, sourceTokens),
    },
    targets: tokenTargets(new Int32Array(12).fill(3)),
    targetCount: 12,
  };
}

for (const name of ["encoder_decoders/bart", "encoder_decoders/mbart"]) {
  for (const kind of ADAPTER_KINDS) {
    for (
      const [activations, halves] of [["store", 1], ["recompute", 1], ["store", 2], ["recompute", 2]] as const
    ) {
      Deno.test(`${kind} on ${name} takes what is counted: ${activations}, in ${halves}`, async () => {
        for (const sourceTokens of [28, 8]) {
          using kernels = nativeKernels({ compute: "f32" });
          using model = openCheckpoint(checkpointFixture(name).dir, kernels);
          const { adapter, problems } = resolveAdapter({ kind, options: OPTIONS[kind] ?? {} }, model.config);
          assert.deepEqual(problems, []);
          const tokens = Math.max(12, sourceTokens);
          const params = adapter.create(kernels, model, tokens);
          params.init(kernels, 1);
          const attach = (k: Kernels, place: PartPlace) =>
            attachAdapter(model, params, k, { training: { seed: 1, step: 1, ...place } });
          const counted = countedRun(model, adapter, { activations, halves, tokensPerStep: tokens });
          const size = { tokens: 12, targets: 12, sourceTokens };
          const bytes = ({ arena, hostArena }: Kernels) => [arena.bytes, hostArena.bytes];
          const batch = batchOf(sourceTokens);
          const attached = attachAdapter(model, params);
          await evaluateLoss(attached.model, batch, attached.hooks);
          await counted.evaluate(size);
          assert.deepEqual(bytes(counted.kernels), bytes(kernels), "for the loss alone");
          await microBatchGradients(kernels, batch, halves, attach, { activations, lossScale: 1 });
          await counted.train(size, { longest: 6 });
          const [own, found] = [bytes(counted.kernels), bytes(kernels)];
          if (adapter.selection === undefined) assert.deepEqual(own, found);
          else own.forEach((most, i) => assert(most >= (found[i] as number), "as many rows as can fire"));
        }
      });
    }
  }
}
