// SPDX-License-Identifier: Apache-2.0
/** How often a branch is computed, and what backward is given of it, when activations are recomputed. */
import { hooksOf } from "../../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import { lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import type { BranchHook } from "../../../../lib/models/hooks.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { createLaneTimes, timedHooks } from "../../../../lib/train/lanes.ts";
import type { Floats } from "../../../../lib/tensor/tensor.ts";
import { assertSame } from "../../../compare.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { type ProbeHook, probeHook } from "../../../fixtures/probe_hook.ts";

const { dir, batch } = modelFixture("qwen2_tied");
const SITES = ["attention", "ffn"] as const;

/** A probe that keeps h in the host arena, and notes its calls: `first` of each forward, and the bytes there at each backward. */
function notedHook(k: Kernels, probe: ProbeHook, onHost: boolean) {
  const left: (Floats | undefined)[][] = [];
  const forwards: { layer: number; first: Floats | undefined }[] = [];
  const hostBytes: number[] = [];
  const hook: BranchHook<Floats> = {
    residualsOnHost: onHost,
    async forward(layer, h, y, first) {
      forwards.push({ layer, first });
      const kept = onHost ? k.hostFloats(h.data.length) : k.arenaFloats(h.data.length);
      kept.set(h.data);
      (left[layer] ??= []).push(kept);
      await probe.forward(layer, h, y);
      return kept;
    },
    async backward(layer, kept, h, dy, dh) {
      hostBytes.push(k.hostArena.usedBytes);
      assert.equal(kept, onHost ? left[layer]?.[0] : left[layer]?.at(-1));
      assertSame(kept, h.data);
      await probe.backward(layer, probe.scale, h, dy, dh);
    },
  };
  return { hook, forwards, left, hostBytes };
}

async function pass(activations: "store" | "recompute", onHost: boolean) {
  const k = referenceKernels();
  using model = openCheckpoint(dir, k);
  const probes = { attention: probeHook(0.3, true), ffn: probeHook(-0.2, false) };
  const noted = {
    attention: notedHook(k, probes.attention, onHost),
    ffn: notedHook(k, probes.ffn, onHost),
  };
  const hooks = timedHooks(
    hooksOf({ attention: noted.attention.hook, ffn: noted.ffn.hook }),
    createLaneTimes(),
    () => 0,
  );
  const { lossSum } = await lossAndGradients(model, batch, hooks, { activations, lossScale: 1 });
  const layers = model.config.numHiddenLayers;
  return { noted, layers, gradients: SITES.map((site) => probes[site].dscale), lossSum };
}

Deno.test("recomputing runs a branch with residuals on the host again only where its output is needed again, and backward is given what the first forward left", async () => {
  const { noted, layers, gradients, lossSum } = await pass("recompute", true);
  const up = Array.from({ length: layers }, (_, layer) => layer);
  const firstTime = up.map((layer) => ({ layer, first: undefined }));
  // A layer ends with the feed-forward branch: nothing above it needs y again.
  assert.deepEqual(noted.ffn.forwards, firstTime);
  const secondTime = up.toReversed().map((layer) => ({ layer, first: noted.attention.left[layer]?.[0] }));
  assert.equal(noted.attention.forwards.length, 2 * layers);
  for (const [i, call] of [...firstTime, ...secondTime].entries()) {
    const made = noted.attention.forwards[i];
    assert.equal(made?.layer, call.layer);
    assert.equal(made?.first, call.first, "the second forward is given what the first one left");
  }
  // Both branches of a layer left as much; what a second forward takes is given back before backward.
  const one = noted.ffn.hostBytes.at(-1) as number / 2;
  assert.deepEqual(noted.ffn.hostBytes, up.toReversed().map((layer) => 2 * one * (layer + 1)));
  assert.deepEqual(noted.attention.hostBytes, noted.ffn.hostBytes);
  const store = await pass("store", true);
  assert.deepEqual([gradients, lossSum], [store.gradients, store.lossSum]);
  for (const site of SITES) assert.deepEqual(store.noted[site].forwards, firstTime);
});

Deno.test("recomputing runs a branch with residuals in the arena again with its layer, and the last residuals count", async () => {
  const { noted, layers, gradients, lossSum } = await pass("recompute", false);
  for (const site of SITES) {
    assert.equal(noted[site].forwards.length, 2 * layers);
    assert.ok(noted[site].forwards.every(({ first }) => first === undefined));
  }
  const store = await pass("store", false);
  assert.deepEqual([gradients, lossSum], [store.gradients, store.lossSum]);
});
