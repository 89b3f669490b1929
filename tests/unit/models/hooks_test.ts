// SPDX-License-Identifier: Apache-2.0
/** Several hooks on one place: each sees the same input, all that they add is added, each gets its own gradient. */
import assert from "node:assert/strict";
import { interleavedLossAndGradients, splitBatch } from "../../../lib/models/engine/interleave.ts";
import { evaluateLoss, lossAndGradients } from "../../../lib/models/engine/pass.ts";
import { type BranchHook, type Hooks, joinedHooks } from "../../../lib/models/hooks.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { assertSame, assertWithin } from "../../compare.ts";
import { hooksOf } from "../../fixtures/hooks.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { linearProbeHook, type ProbeHook, probeHook } from "../../fixtures/probe_hook.ts";

const { dir, batch } = modelFixture("qwen2_tied");
const SCALES = [0.3, -0.2, 0.1, 0.25, -0.15];

/** A probe whose h stays in the host arena. */
function onHost(k: Kernels, probe: ProbeHook): BranchHook<number> {
  return {
    ...probe,
    residualsOnHost: true,
    forward(layer, h, y, first) {
      k.hostFloats(h.data.length).set(h.data);
      return probe.forward(layer, h, y, first);
    },
  };
}

/** Two hooks on the feed-forward, one on attention, and two on the same products; and their numbers. */
function several(k: Kernels, scales = SCALES) {
  const [a, b, c] = scales.map((scale, i) => probeHook(scale, i % 2 === 0)) as [
    ProbeHook,
    ProbeHook,
    ProbeHook,
  ];
  const products = scales.slice(3).map((scale) => linearProbeHook(scale, ["q", "down"]));
  const hooks = joinedHooks([
    hooksOf({ ffn: onHost(k, a), linear: products[0]! }),
    hooksOf({ attention: c }),
    hooksOf({ ffn: b, linear: products[1]! }),
  ]);
  return { hooks, gradients: () => [a, b, c, ...products].map(({ dscale }) => dscale) };
}

/** What the hooks get of a pass, whole or in two parts. */
async function gradients(activations: "store" | "recompute", inParts = false) {
  const k = referenceKernels();
  using model = openCheckpoint(dir, k);
  const { hooks, gradients } = several(k);
  const split = splitBatch(batch);
  assert.ok(split);
  if (!inParts) await lossAndGradients(model, batch, hooks, { activations, lossScale: 1 });
  else {
    const attach = () => ({ model, hooks });
    await interleavedLossAndGradients(model, batch, split, attach, { activations, lossScale: 1 });
  }
  for (const { arena, hostArena } of [k, k.twin()]) assert.equal(arena.usedBytes + hostArena.usedBytes, 0);
  return gradients();
}

Deno.test("several hooks on one branch and on one product each get the gradient that finite differences say", async () => {
  const found = await gradients("store");
  using model = openCheckpoint(dir, referenceKernels());
  const lossAt = async (i: number, change: number): Promise<number> => {
    const scales = SCALES.map((scale, j) => scale + (i === j ? change : 0));
    return (await evaluateLoss(model, batch, several(model.kernels, scales).hooks)).lossSum;
  };
  const step = 1e-5;
  // The order of `gradients`: the feed-forward's two, attention's, the products'.
  for (const [at, gradient] of found.entries()) {
    const difference = (await lossAt(at, step) - await lossAt(at, -step)) / (2 * step);
    assertWithin(`number ${at}`, [gradient], [difference], 1e-6 * Math.max(1, Math.abs(difference)));
  }
});

Deno.test("several hooks get the same gradients recomputed, and in two parts", async () => {
  const whole = await gradients("store");
  assertSame(await gradients("recompute"), whole);
  for (const activations of ["store", "recompute"] as const) {
    assertWithin(
      activations,
      await gradients(activations, true),
      whole,
      whole.map((g) => 1e-9 * Math.abs(g)),
    );
  }
});

Deno.test("hooks of one thing come before those of the next", () => {
  const [a, b, c] = [probeHook(1, false), probeHook(2, false), probeHook(3, false)];
  const joined = joinedHooks([hooksOf({ ffn: a }), hooksOf({ attention: b }), hooksOf({ ffn: c })]);
  assert.deepEqual(joined.branch?.get("ffn"), [a, c]);
  assert.deepEqual(joined.branch?.get("attention"), [b]);
});

Deno.test("a hook that is under way is awaited when another fails, or the work beside it", async () => {
  const k = referenceKernels();
  using model = openCheckpoint(dir, k);
  let ended = 0;
  const slow: BranchHook = {
    async forward(_layer, _h, y) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      y.data.fill(0);
      ended++;
    },
    backward: () => {},
  };
  const failing: BranchHook = {
    forward: () => {
      throw new Error("it does not start");
    },
    backward: () => {},
  };
  const late: BranchHook = { ...failing, forward: () => Promise.reject(new Error("it does not end")) };
  const fails = (hooks: Hooks, message: RegExp) => assert.rejects(evaluateLoss(model, batch, hooks), message);
  await fails(joinedHooks([hooksOf({ ffn: slow }), hooksOf({ ffn: failing })]), /it does not start/);
  assert.equal(ended, 1);
  await fails(joinedHooks([hooksOf({ ffn: late }), hooksOf({ ffn: slow })]), /it does not end/);
  assert.equal(ended, 2);
  assert.equal(k.arena.usedBytes + k.hostArena.usedBytes, 0);
});
