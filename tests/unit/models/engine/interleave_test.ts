// SPDX-License-Identifier: Apache-2.0
import { attachAdapter } from "../../../../lib/adapters/attach.ts";
import { hooksOf } from "../../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import { assertSame, assertWithin, largest } from "../../../compare.ts";
import type { IdleMemory } from "../../../../lib/activations/policy.ts";
import { sparseAdapter } from "../../../../lib/adapters/sparse/sparse.ts";
import type { AdapterParams } from "../../../../lib/adapters/adapter.ts";
import { type Batch, targetIds, type TokenTargets, tokenTargets } from "../../../../lib/data/batch.ts";
import { lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import {
  interleavedLossAndGradients,
  type PartPlace,
  splitBatch,
} from "../../../../lib/models/engine/interleave.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { trainableModel } from "../../../fixtures/trainable_model.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { clearGradients, liveGradient } from "../../../../lib/optim/parameters.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { probeHook } from "../../../fixtures/probe_hook.ts";
import { type HostJob, slowHostLane } from "../../../fixtures/slow_lane.ts";
import { wholeGradients } from "../../train/gradients.ts";

const POLICIES = ["store", "recompute"] as const;

function batchOf(lengths: readonly number[]): Batch {
  const starts = Int32Array.from([
    0,
    ...lengths.map((_, s) => lengths.slice(0, s + 1).reduce((a, b) => a + b)),
  ]);
  const tokens = starts.at(-1) as number;
  const positions = Int32Array.from(lengths.flatMap((length) => Array.from({ length }, (_, t) => t)));
  const ids = Int32Array.from({ length: tokens }, (_, t) => (t * 7) % 11);
  const targets = ids.map((id, t) => t % 3 === 0 ? -1 : (id + 1) % 11);
  return {
    ids,
    positions,
    starts,
    targets: tokenTargets(targets),
    targetCount: targets.filter((target) => target >= 0).length,
  };
}

/** The longest sequence of a fixture's batch, alone. */
function longest(batch: Batch): Batch {
  const { ids, positions, starts } = batch;
  const lengths = Array.from(starts.subarray(1), (end, s) => end - (starts[s] as number));
  const s = lengths.indexOf(Math.max(...lengths));
  const [begin, end] = [starts[s], starts[s + 1]];
  const ofSequence = targetIds(batch).subarray(begin, end);
  return {
    ids: ids.subarray(begin, end),
    positions: positions.subarray(begin, end),
    starts: Int32Array.of(0, lengths[s] as number),
    targets: tokenTargets(ofSequence),
    targetCount: ofSequence.filter((target) => target >= 0).length,
  };
}

Deno.test("splitBatch() cuts between sequences as near the middle as it can, one sequence in the middle", () => {
  const cuts = (lengths: readonly number[]) => {
    const split = splitBatch(batchOf(lengths));
    return split && [...split.parts.map(({ batch }) => [...batch.starts]), split.oneSequence];
  };
  assert.deepEqual(cuts([3, 4, 5]), [[0, 3, 7], [0, 5], false]);
  assert.deepEqual(cuts([9, 1, 1]), [[0, 9], [0, 1, 2], false]);
  // Empty sequences stay: each may have a target, or a source, of its own.
  assert.deepEqual(cuts([0, 4, 0, 4, 0]), [[0, 0, 4], [0, 0, 4, 4], false]);
  assert.deepEqual(cuts([7]), [[0, 4], [0, 3], true]);
  assert.deepEqual(cuts([0, 2, 0]), [[0, 1], [0, 1], true]);
  assert.equal(cuts([1]), null);
  assert.equal(cuts([0]), null);
});

Deno.test("splitBatch() keeps every token with its position and target", () => {
  const batch = batchOf([3, 4, 5]);
  const parts = splitBatch(batch)?.parts ?? [];
  for (const name of ["ids", "positions"] as const) {
    assert.deepEqual(parts.flatMap(({ batch: part }) => [...part[name]]), [...batch[name]]);
  }
  assert.deepEqual(parts.flatMap(({ batch: part }) => [...(part.targets as TokenTargets).ids]), [
    ...targetIds(batch),
  ]);
  assert.deepEqual(parts.map(({ firstToken }) => firstToken), [0, 7]);
});

for (const name of ["llama_dynamic", "mistral_window", "qwen3_tied"]) {
  for (const activations of POLICIES) {
    for (const one of [false, true]) {
      Deno.test(`parts of ${one ? "one sequence" : "several sequences"} give the gradients of the whole: ${name}, ${activations}`, async () => {
        const fixture = modelFixture(name);
        const batch = one ? longest(fixture.batch) : fixture.batch;
        const inTwo = splitBatch(batch);
        assert.ok(inTwo && inTwo.oneSequence === one);
        const run = async (interleaved: boolean) => {
          const k = referenceKernels();
          using base = openCheckpoint(fixture.dir, k);
          using model = trainableModel(base);
          const probes = { ffn: probeHook(0.3, true), attention: probeHook(-0.2, false) };
          const hooks = hooksOf(probes);
          const options = { activations, lossScale: 0.5 };
          const loss = interleaved
            ? await interleavedLossAndGradients(model, batch, inTwo, () => ({ model, hooks }), options)
            : await lossAndGradients(model, batch, hooks, options);
          assert.equal(k.arena.usedBytes + k.twin().arena.usedBytes + k.hostArena.usedBytes, 0);
          const grads = model.trainable.map(({ name, grad }) => [name, Float64Array.from(grad)] as const);
          return { loss, grads, scales: [probes.ffn.dscale, probes.attention.dscale] };
        };
        const [whole, split] = [await run(false), await run(true)];
        // f64 sums of the same terms in another order.
        assertWithin("loss", [split.loss.lossSum], [whole.loss.lossSum], 1e-11);
        assert.equal(split.loss.targetCount, whole.loss.targetCount);
        assertWithin("hooks", split.scales, whole.scales, 1e-10);
        for (const [i, [weight, grad]] of whole.grads.entries()) {
          assertWithin(weight, split.grads[i]?.[1] ?? [], grad, 1e-11 * Math.max(1, largest(grad)));
        }
      });
    }
  }
}

/** One pass over the sparse adapter in two parts. */
async function sparsePass(
  activations: typeof POLICIES[number],
  delayMs: (call: number) => number,
): Promise<{ jobs: HostJob[]; lossSum: number; params: AdapterParams; kernels: Kernels }> {
  const jobs: HostJob[] = [];
  const kernels = slowHostLane(referenceKernels(), delayMs, jobs);
  const model = openCheckpoint(modelFixture("llama_dynamic").dir, kernels);
  const { batch } = modelFixture("llama_dynamic");
  const options = { neurons: 24, experts: 6, activeExperts: 2, topK: 3 };
  const params = sparseAdapter(options, model.config).adapter.create(kernels, model, batch.ids.length);
  params.init(kernels, 5);
  // Values start at 0, which leaves most gradients at 0.
  for (const parameter of params.parameters) {
    if (parameter.kind === "rows") kernels.randomNormal(parameter.matrix.full as Float64Array, 9, 1, 0.5);
  }
  clearGradients(kernels, params.parameters);
  const split = splitBatch(batch);
  assert.ok(split);
  const { lossSum } = await interleavedLossAndGradients(
    model,
    batch,
    split,
    (k) => attachAdapter(model, params, k),
    {
      activations,
      lossScale: 1,
    },
  );
  return { jobs, lossSum, params, kernels };
}

for (const activations of POLICIES) {
  Deno.test(`host jobs come in one order, and bits are the same, whatever the delays: ${activations}`, async () => {
    const steady = await sparsePass(activations, () => 0);
    const layers = steady.params.parameters.length / 3;
    const [a, b] = [steady.jobs[0]?.tokens, steady.jobs[1]?.tokens];
    const inTurns = (kind: HostJob["kind"], first?: number, second?: number) =>
      Array.from({ length: 2 * layers }, (_, i) => ({ kind, tokens: i % 2 === 0 ? first : second }));
    assert.ok(a !== b, "the parts can be told apart by their tokens");
    assert.deepEqual(steady.jobs, [...inTurns("forward", a, b), ...inTurns("backward", b, a)]);
    for (let seed = 1; seed <= 6; seed++) {
      const uneven = await sparsePass(activations, (call) => (call * 7919 + seed * 104729) % 13 % 5);
      assert.deepEqual(uneven.jobs, steady.jobs);
      assert.equal(uneven.lossSum, steady.lossSum);
      assertSame(
        uneven.params.parameters.map(liveGradient),
        steady.params.parameters.map(liveGradient),
        `seed ${seed}`,
      );
    }
    assert.ok(
      [...wholeGradients(steady.params.parameters).values()].every((grad) => grad.some((x) => x !== 0)),
    );
  });

  for (const failing of [0, 1, 3, 4, 6, 7]) {
    Deno.test(`a host job that fails (number ${failing}) ends the pass with its text, and leaves nothing taken: ${activations}`, async () => {
      const jobs: HostJob[] = [];
      const kernels = slowHostLane(referenceKernels(), (call) => call === failing ? -1 : 1, jobs);
      using model = openCheckpoint(modelFixture("llama_dynamic").dir, kernels);
      const batch = longest(modelFixture("llama_dynamic").batch);
      const params = sparseAdapter({ neurons: 24, experts: 6 }, model.config).adapter
        .create(kernels, model, batch.ids.length);
      params.init(kernels, 5);
      const split = splitBatch(batch);
      assert.ok(split);
      const pass = () =>
        interleavedLossAndGradients(model, batch, split, (k) => attachAdapter(model, params, k), {
          activations,
          lossScale: 1,
        });
      await assert.rejects(pass(), /^Error: the host lane fell over$/);
      for (const k of [kernels, kernels.twin()]) assert.equal(k.arena.usedBytes + k.hostArena.usedBytes, 0);
      assert.equal(kernels.hostJobs.pending, 0);
      clearGradients(kernels, params.parameters);
      const { lossSum } = await pass();
      assert.ok(lossSum > 0, "the lanes still work");
    });
  }
}

Deno.test("a layer is left once, from the top down, when both parts have come back through it", async () => {
  for (const one of [false, true]) {
    for (const activations of POLICIES) {
      const fixture = modelFixture("qwen3_tied");
      const k = referenceKernels();
      using model = openCheckpoint(fixture.dir, k);
      const split = splitBatch(one ? longest(fixture.batch) : fixture.batch);
      assert.ok(split);
      const seen: string[] = [];
      const attach = (_: Kernels, { firstToken }: PartPlace) => {
        const [ffn, attention] = [probeHook(0.3, true), probeHook(0.2, true)];
        const noted = (name: string, hook: typeof ffn): typeof ffn => ({
          ...hook,
          async backward(layer, ...rest) {
            await hook.backward(layer, ...rest);
            seen.push(`${firstToken === 0 ? "A" : "B"} ${name} ${layer}`);
          },
        });
        return {
          model,
          hooks: hooksOf({ ffn: noted("ffn", ffn), attention: noted("attention", attention) }),
        };
      };
      const layers = model.config.numHiddenLayers;
      const ready: number[] = [];
      await interleavedLossAndGradients(model, fixture.batch, split, attach, {
        activations,
        lossScale: 1,
        afterLayer: (layer) => void seen.push(`left ${layer}`),
        idle: { beforeBackward: (layer: number) => void ready.push(layer) } as IdleMemory,
      });
      const left = seen.filter((event) => event.startsWith("left"));
      assert.deepEqual(left, Array.from({ length: layers }, (_, i) => `left ${layers - 1 - i}`));
      for (const part of ["A", "B"]) {
        for (let layer = 0; layer < layers; layer++) {
          for (const name of ["ffn", "attention"]) {
            const at = seen.indexOf(`${part} ${name} ${layer}`);
            assert.ok(at >= 0 && at < seen.indexOf(`left ${layer}`), `${part} ${name} ${layer} in ${seen}`);
          }
        }
      }
      // Memory that is idle in the pass is asked for, layer by layer, before any of them uses it.
      assert.deepEqual(ready, Array.from({ length: layers }, (_, layer) => layer));
    }
  }
});
