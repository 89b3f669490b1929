// SPDX-License-Identifier: Apache-2.0
/** Identities of the engine, on the reference kernels. */
import { hooksOf } from "../fixtures/hooks.ts";
import assert from "node:assert/strict";
import { type Batch, targetIds, tokenTargets } from "../../lib/data/batch.ts";
import { evaluateLoss, forwardLogits, lossAndGradients } from "../../lib/models/engine/pass.ts";
import type { Hooks } from "../../lib/models/hooks.ts";
import { decodeStep } from "../../lib/models/engine/decode.ts";
import { createKvCache } from "../../lib/models/engine/kv_cache.ts";
import { openCheckpoint } from "../../lib/models/load.ts";
import type { Model } from "../../lib/models/model.ts";
import { knownWords } from "../../lib/models/modules.ts";
import { trainableModel } from "../fixtures/trainable_model.ts";
import { heldBytes } from "../../lib/native/ledger.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertWithin } from "../compare.ts";
import { MODEL_FIXTURES, modelFixture } from "../fixtures/model_fixture.ts";
import { linearProbeHook, probeHook } from "../fixtures/probe_hook.ts";

/** Of all families. */
const SITES = [...knownWords().keys()];

/** The same sums in another grouping, in f64, of values of order 1. */
const REGROUPED = 1e-11;
const POLICIES = ["store", "recompute"] as const;

/** Sequence s of a batch, alone. */
function sequenceOf(batch: Batch, s: number): Batch {
  const [begin, end] = [batch.starts[s] as number, batch.starts[s + 1] as number];
  const targets = targetIds(batch).subarray(begin, end);
  return {
    ids: batch.ids.subarray(begin, end),
    positions: batch.positions.subarray(begin, end),
    starts: Int32Array.of(0, end - begin),
    targets: tokenTargets(targets),
    targetCount: targets.filter((target) => target >= 0).length,
  };
}

async function hiddenGradients(
  model: Model,
  batch: Batch,
  hooks: Hooks,
  lossScale: number,
): Promise<Float64Array[]> {
  const seen: Float64Array[] = [];
  const tap = (layer: number, dx: { data: ArrayLike<number> }) =>
    void (seen[layer] = Float64Array.from(dx.data));
  await lossAndGradients(model, batch, hooks, { activations: "store", lossScale, tap });
  return seen;
}

for (const name of ["llama_dynamic", "mistral_window", "qwen3_tied"]) {
  Deno.test(`packed sequences of ${name} give the loss and gradients of separate runs`, async () => {
    const { dir, batch } = modelFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const together = await hiddenGradients(model, batch, {}, 0.1);
    const width = model.config.hiddenSize;
    let lossSum = 0;
    for (let s = 0; s + 1 < batch.starts.length; s++) {
      const alone = sequenceOf(batch, s);
      lossSum += (await evaluateLoss(model, alone, {})).lossSum;
      for (const [layer, dx] of (await hiddenGradients(model, alone, {}, 0.1)).entries()) {
        const begin = (batch.starts[s] as number) * width;
        assertWithin(
          `sequence ${s}`,
          dx,
          together[layer]?.subarray(begin, begin + dx.length) ?? [],
          REGROUPED,
        );
      }
    }
    assertWithin("loss", [(await evaluateLoss(model, batch, {})).lossSum], [lossSum], REGROUPED);
  });
}

/** Beyond some length they turn with the length of the sequence, so that decoding is another computation than one pass. */
const TURN_WITH_LENGTH = MODEL_FIXTURES.filter((name) => /dynamic|longrope/.test(name));

for (const name of MODEL_FIXTURES.filter((fixture) => !TURN_WITH_LENGTH.includes(fixture))) {
  Deno.test(`decodeStep() gives the logits of a full forward pass, for all sequences at once, with ${name}`, async () => {
    const { dir, batch } = modelFixture(name);
    const kernels = referenceKernels();
    using model = openCheckpoint(dir, kernels);
    const hooks = hooksOf({ ffn: probeHook(0.3, false), linear: linearProbeHook(0.2, SITES) });
    const full = await forwardLogits(model, batch, hooks);
    const vocabulary = model.config.vocabSize;
    const before = heldBytes(kernels.ledger);
    {
      const sequences = batch.starts.length - 1;
      using cache = createKvCache(model, 16, sequences);
      // Prompts of different lengths first (of 0 tokens for one), then token by token, as each still has some.
      const pieces = Array.from({ length: sequences }, (_, s) => {
        const ids = sequenceOf(batch, s).ids;
        return [ids.subarray(0, s * 2), ...Array.from(ids.subarray(s * 2), (id) => Int32Array.of(id))];
      });
      for (let turn = 0; turn < 15; turn++) {
        const fresh = pieces.map((piece) => piece[turn] ?? new Int32Array(0));
        const logits = await decodeStep(model, cache, fresh, hooks);
        fresh.forEach((tokens, s) => {
          if (tokens.length === 0) return;
          const row = (batch.starts[s] as number) + (cache.lengths[s] as number) - 1;
          const expected = full.data.subarray(row * vocabulary, (row + 1) * vocabulary);
          const actual = logits.data.subarray(s * vocabulary, (s + 1) * vocabulary);
          assertWithin(`sequence ${s} at ${cache.lengths[s]}`, actual, expected, REGROUPED);
        });
      }
      assert.deepEqual(
        [...cache.lengths],
        Array.from({ length: sequences }, (_, s) => sequenceOf(batch, s).ids.length),
      );
    }
    // What grew since is the arena, which is kept, and not the cache.
    assert.equal(kernels.ledger.held.get("cache"), 0);
    assert(before > 0);
  });
}

for (const name of TURN_WITH_LENGTH.filter((fixture) => modelFixture(fixture).names("decoded").length > 0)) {
  Deno.test(`decodeStep() gives the logits of transformers with its cache, across the original length, with ${name}`, async () => {
    const { dir, batch, expected } = modelFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const [wanted, vocabulary] = [expected("decoded_logits"), model.config.vocabSize];
    for (let s = 0; s + 1 < batch.starts.length; s++) {
      const { ids } = sequenceOf(batch, s);
      using cache = createKvCache(model, ids.length);
      for (let at = 0; at < ids.length;) {
        const piece = ids.subarray(at, at === 0 ? 4 : at + 1);
        const logits = await decodeStep(model, cache, [piece], {});
        at += piece.length;
        const row = (batch.starts[s] as number) + at - 1;
        assertWithin(
          `sequence ${s} at ${at}`,
          logits.data,
          wanted.subarray(row * vocabulary, (row + 1) * vocabulary),
          1e-9,
        );
      }
    }
  });
}

Deno.test("decodeStep() refuses what does not fit the cache or the vocabulary, and changes nothing", async () => {
  const kernels = referenceKernels();
  using model = openCheckpoint(modelFixture("llama_linear").dir, kernels);
  using cache = createKvCache(model, 3, 2);
  const step = (...ids: number[][]) => decodeStep(model, cache, ids.map((list) => Int32Array.from(list)), {});
  await step([1, 2], [3]);
  await assert.rejects(step([1, 2], [1]), /Sequence 0 has 4 tokens, the cache has room for 3/);
  await assert.rejects(step([1], [61]), /Sequence 1 has token ids outside the vocabulary of 61/);
  await assert.rejects(step([1]), /1 sequences of tokens for a cache of 2/);
  assert.deepEqual([...cache.lengths], [2, 1]);
});

for (const activations of POLICIES) {
  for (const later of [false, true]) {
    Deno.test(`hooks ${later ? "that answer later" : "that answer at once"} get their gradients with ${activations}, as finite differences say`, async () => {
      const { dir, batch } = modelFixture("qwen2_tied");
      const kernels = referenceKernels();
      using model = openCheckpoint(dir, kernels);
      const probes = {
        ffn: probeHook(0.4, later),
        attention: probeHook(-0.2, later),
        linear: linearProbeHook(0.1, SITES),
      };
      const hooks = hooksOf(probes);
      await lossAndGradients(model, batch, hooks, { activations, lossScale: 0.5 });
      for (const hook of Object.values(probes)) {
        const [scale, step] = [hook.scale, 1e-5];
        const lossAt = async (value: number): Promise<number> => {
          hook.scale = value;
          return 0.5 * (await evaluateLoss(model, batch, hooks)).lossSum;
        };
        const difference = (await lossAt(scale + step) - await lossAt(scale - step)) / (2 * step);
        hook.scale = scale;
        // Central differences err by about step^2 times the third derivative, and by rounding / step.
        assertWithin("dscale", [hook.dscale], [difference], 1e-6 * Math.max(1, Math.abs(difference)));
      }
    });
  }
}

for (const activations of POLICIES) {
  for (const site of SITES) {
    Deno.test(`a hook on ${site} alone gets its gradient with ${activations}, beside trained weights too`, async () => {
      const { dir, batch } = modelFixture("qwen2_tied");
      using base = openCheckpoint(dir, referenceKernels());
      using model = trainableModel(base, (name) => name === "model.layers.1.self_attn.q_proj.bias");
      const options = { activations, lossScale: 0.5 } as const;
      for (const runs of [base, model]) {
        const hook = linearProbeHook(0.1, [site]);
        await lossAndGradients(runs, batch, { linear: [hook] }, options);
        const lossAt = async (value: number): Promise<number> => {
          hook.scale = value;
          return 0.5 * (await evaluateLoss(runs, batch, { linear: [hook] })).lossSum;
        };
        const step = 1e-5;
        const difference = (await lossAt(0.1 + step) - await lossAt(0.1 - step)) / (2 * step);
        assertWithin("dscale", [hook.dscale], [difference], 1e-6 * Math.max(1, Math.abs(difference)));
      }
    });
  }
}

/** Kernels that count their calls, by name. */
function counting(kernels: Kernels): { kernels: Kernels; calls: Map<string, number> } {
  const calls = new Map<string, number>();
  const counted = Object.fromEntries(
    Object.entries(kernels).map(([name, member]) => [
      name,
      typeof member !== "function" ? member : (...passed: unknown[]) => {
        calls.set(name, (calls.get(name) ?? 0) + 1);
        return (member as (...passed: unknown[]) => unknown)(...passed);
      },
    ]),
  );
  return { kernels: counted as unknown as Kernels, calls };
}

for (const activations of POLICIES) {
  Deno.test(`lossAndGradients() with ${activations} computes nothing below what is trained, and no frozen weight's gradient`, async () => {
    const { dir, batch } = modelFixture("llama_linear");
    const { kernels, calls } = counting(referenceKernels());
    using base = openCheckpoint(dir, kernels);
    const count = async (
      trained: (name: string) => boolean,
      hooks: Hooks = {},
    ): Promise<Record<string, number>> => {
      using model = trainableModel(base, trained);
      calls.clear();
      await lossAndGradients(model, batch, hooks, { activations, lossScale: 1 });
      const of = (name: string) => calls.get(name) ?? 0;
      return {
        data: of("linearBackwardData"),
        weight: of("linearBackwardWeight"),
        attention: of("attentionBackward"),
      };
    };
    const none = () => false;
    assert.deepEqual(await count(none), { data: 0, weight: 0, attention: 0 });
    assert.deepEqual(await count((name) => name === "lm_head.weight"), { data: 1, weight: 1, attention: 0 });
    // Data of the head and of down; nothing below the last layer's up needs more.
    assert.deepEqual(await count((name) => name === "model.layers.1.mlp.up_proj.weight"), {
      data: 2,
      weight: 1,
      attention: 0,
    });
    // A hook needs the gradient of its output alone: in the lowest layer no frozen product is run backward.
    const hooks = hooksOf({ ffn: probeHook(0.1, false) });
    assert.deepEqual(await count(none, hooks), { data: 1 + 3 + 4, weight: 0, attention: 1 });
    // Data of the head, of all seven of the upper layer, and of what lies above the site in the lowest layer.
    for (const [above, site] of (["down", "up", "o", "v"] as const).entries()) {
      const linear = linearProbeHook(0.1, [site]);
      const expected = {
        data: 1 + 7 + ([0, 1, 3, 4][above] as number),
        weight: 0,
        attention: site === "v" ? 2 : 1,
      };
      assert.deepEqual(await count(none, { linear: [linear] }), expected, site);
    }
    assert.deepEqual(await count((name) => name.includes("embed")), {
      data: 1 + 2 * 7,
      weight: 0,
      attention: 2,
    });
  });
}

Deno.test("lossAndGradients() adds to gradients: two halves of a batch give the gradient of the whole", async () => {
  const { dir, batch } = modelFixture("qwen3_tied");
  using base = openCheckpoint(dir, referenceKernels());
  using whole = trainableModel(base);
  using parts = trainableModel(base);
  const options = { activations: "store", lossScale: 1 / batch.targetCount } as const;
  await lossAndGradients(whole, batch, {}, options);
  for (let s = 0; s + 1 < batch.starts.length; s++) {
    await lossAndGradients(parts, sequenceOf(batch, s), {}, options);
  }
  for (const [i, { name, grad }] of whole.trainable.entries()) {
    assertWithin(name, parts.trainable[i]?.grad ?? [], grad, REGROUPED);
  }
});

Deno.test("batches of no tokens, and without targets, have a loss of 0", async () => {
  const kernels = referenceKernels();
  using base = openCheckpoint(modelFixture("llama_linear").dir, kernels);
  using model = trainableModel(base);
  const none = new Int32Array(0);
  const empty = {
    ids: none,
    positions: none,
    starts: Int32Array.of(0),
    targets: tokenTargets(none),
    targetCount: 0,
  };
  const silent = {
    ...sequenceOf(modelFixture("llama_linear").batch, 0),
    targets: tokenTargets(new Int32Array(9).fill(-1)),
    targetCount: 0,
  };
  for (const batch of [empty, silent]) {
    assert.deepEqual(await evaluateLoss(model, batch, {}), { lossSum: 0, targetCount: 0 });
    const loss = await lossAndGradients(model, batch, {}, { activations: "store", lossScale: 1 });
    assert.deepEqual(loss, { lossSum: 0, targetCount: 0 });
  }
  for (const { name, grad } of model.trainable) assertWithin(name, grad, new Float64Array(grad.length), 0);
});

Deno.test("evaluateLoss() refuses batches that contradict themselves or the vocabulary", async () => {
  using model = openCheckpoint(modelFixture("llama_linear").dir, referenceKernels());
  const good = sequenceOf(modelFixture("llama_linear").batch, 0);
  const wrong: [Partial<Batch>, RegExp][] = [
    [{ positions: new Int32Array(8) }, /positions of the batch has 8 elements, expected 9/],
    [{ targets: tokenTargets(new Int32Array(10)) }, /targets of the batch has 10 elements, expected 9/],
    [
      { starts: Int32Array.of(0, 8) },
      /starts of the batch are \[0,8\], expected a rise from 0 to its 9 tokens/,
    ],
    [{ starts: Int32Array.of(0, 5, 4, 9) }, /starts of the batch/],
    [{ ids: new Int32Array(9).fill(61) }, /id of token 0 is 61/],
    [{ targets: tokenTargets(new Int32Array(9).fill(-2)) }, /target of token 0 is -2/],
    [{ targets: tokenTargets(new Int32Array(9).fill(61)) }, /target of token 0 is 61/],
    [{ ids: new Int32Array(9).fill(-1) }, /id of token 0 is -1/],
    [{ starts: Int32Array.of(1, 9) }, /starts of the batch/],
    [{ positions: new Int32Array(9).fill(-1) }, /position of token 0 is -1/],
  ];
  for (const [change, problem] of wrong) {
    await assert.rejects(async () => await evaluateLoss(model, { ...good, ...change }, {}), problem);
  }
});
