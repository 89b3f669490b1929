// SPDX-License-Identifier: Apache-2.0
/** The engine on native kernels: equal bits where that is promised, and memory that does not grow. */
import { hooksOf } from "../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import { assertSame } from "../../compare.ts";
import { lossAndGradients } from "../../../lib/models/engine/pass.ts";
import { decodeStep } from "../../../lib/models/engine/decode.ts";
import { createKvCache } from "../../../lib/models/engine/kv_cache.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { trainableModel } from "../../fixtures/trainable_model.ts";
import { heldBytes } from "../../../lib/native/ledger.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { weightBytes } from "../../../lib/storage/weights.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { probeHook } from "../../fixtures/probe_hook.ts";
import { asLmHead } from "../../../lib/models/heads/lm.ts";
import { embeddingOf } from "../../../lib/models/part_tensors.ts";
import type { Weight } from "../../../lib/tensor/tensor.ts";

const POLICIES = ["store", "recompute"] as const;

/** Gradients of everything after one batch, with hooks, as bytes. */
async function gradientBytes(name: string, activations: typeof POLICIES[number]): Promise<Uint8Array[]> {
  const { dir, batch } = modelFixture(name);
  using kernels = nativeKernels();
  using base = openCheckpoint(dir, kernels);
  using model = trainableModel(base);
  const probes = { ffn: probeHook(0.5, true), attention: probeHook(-0.1, false) };
  const { lossSum } = await lossAndGradients(model, batch, hooksOf(probes), { activations, lossScale: 0.01 });
  const numbers = Float64Array.of(lossSum, probes.ffn.dscale, probes.attention.dscale);
  return [numbers, ...model.trainable.map(({ grad }) => grad)].map((array) => new Uint8Array(array.buffer));
}

for (const name of ["llama_biases", "mistral_bf16", "qwen3_tied"]) {
  Deno.test(`store and recompute give the same bits for ${name}`, async () => {
    const [stored, recomputed] = [await gradientBytes(name, "store"), await gradientBytes(name, "recompute")];
    assert(stored.every((bytes) => bytes.some((byte) => byte !== 0)));
    assertSame(stored, recomputed);
  });
}

for (const activations of POLICIES) {
  Deno.test(`the byte ledger is flat over 200 steps with ${activations}`, async () => {
    const { dir, batch } = modelFixture("mistral_window");
    using kernels = nativeKernels();
    using base = openCheckpoint(dir, kernels);
    using model = trainableModel(base, (name) => name.includes("layers.1"));
    const hooks = hooksOf({ ffn: probeHook(0.5, false) });
    const step = () => lossAndGradients(model, batch, hooks, { activations, lossScale: 0.01 });
    await step();
    const held = new Map(kernels.ledger.held);
    const arena = [kernels.arena.bytes, kernels.arena.mark()];
    const { workspaceBytes } = kernels.info();
    for (let i = 0; i < 200; i++) await step();
    assert.deepEqual(kernels.ledger.held, held);
    assertSame([kernels.arena.bytes, kernels.arena.mark()], arena);
    assert.equal(kernels.info().workspaceBytes, workspaceBytes);
  });
}

Deno.test("loading maps the files, and disposing model, copy and cache gives every byte back", async () => {
  const { dir } = modelFixture("qwen2_tied");
  using kernels = nativeKernels();
  {
    using base = openCheckpoint(dir, kernels);
    using model = trainableModel(base);
    using cache = createKvCache(model, 4, 2);
    await decodeStep(model, cache, [Int32Array.of(1, 2, 3), Int32Array.of(4)], {});
    const fileBytes = base.checkpoint.files.reduce((sum, file) => sum + file.fileBytes, 0);
    assert.equal(kernels.ledger.held.get("weights"), fileBytes);
    const embedding = embeddingOf(base.parts.stacks[0]) as Weight;
    assert.equal(embedding.data, null);
    assert.equal(asLmHead(model.parts.head).weight, embeddingOf(model.parts.stacks[0]));
    assert((kernels.ledger.held.get("cache") ?? 0) > 0);
  }
  assert.equal(heldBytes(kernels.ledger), kernels.ledger.held.get("activations"));
});

Deno.test("weights of f64 are rounded to f32 in memory of their own, as predicted, and given back with the model", () => {
  const { dir } = modelFixture("qwen2_base_names");
  using kernels = nativeKernels();
  {
    using model = openCheckpoint(dir, kernels);
    const wide = [...model.checkpoint.tensors.values()].filter(({ dtype }) => dtype === "f64");
    const [file] = model.checkpoint.files;
    const narrowed = wide.reduce((sum, { bytes }) => sum + bytes / 2, 0);
    assert(narrowed > 0 && file !== undefined);
    assert.equal(kernels.ledger.held.get("weights"), file.fileBytes + narrowed);
    assert.equal(weightBytes(model.checkpoint), file.fileBytes + narrowed);
  }
  assert.equal(heldBytes(kernels.ledger), 0);
});
