// SPDX-License-Identifier: Apache-2.0
/** Caches of keys and values to their last place, and that decoding reads them instead of computing anew. */
import assert from "node:assert/strict";
import type { DecoderConfig } from "../../../../lib/models/families/decoder_config.ts";
import { forwardLogits } from "../../../../lib/models/engine/pass.ts";
import { decodeStep } from "../../../../lib/models/engine/decode.ts";
import { createKvCache } from "../../../../lib/models/engine/kv_cache.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { openDecoderSession } from "../../../../lib/evaluate/decoder_session.ts";
import type { AttentionShape } from "../../../../lib/ops/kernels/model.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { assertSameBits, assertWithin } from "../../../compare.ts";
import { MODEL_FIXTURES, modelFixture } from "../../../fixtures/model_fixture.ts";
import { tokenTargets } from "../../../../lib/data/batch.ts";

/** The same sums in another grouping, in f64, of values of order 1. */
const REGROUPED = 1e-11;
const CAPACITY = 6;
const SEQUENCES = [[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]].map((ids) => Int32Array.from(ids));

/** Kernels that note the sizes of every attention. */
function watched(): { kernels: Kernels; shapes: AttentionShape[] } {
  const shapes: AttentionShape[] = [];
  const kernels = referenceKernels();
  const attentionForward: Kernels["attentionForward"] = (...args) => {
    shapes.push(args.at(-1) as AttentionShape);
    return kernels.attentionForward(...args);
  };
  return { kernels: { ...kernels, attentionForward } as Kernels, shapes };
}

/** Logits of the last token of `ids`, by a pass over all of them. */
async function lastLogits(
  model: ReturnType<typeof openCheckpoint>,
  ids: Int32Array,
): Promise<ArrayLike<number>> {
  const positions = ids.map((_, t) => t), targets = tokenTargets(new Int32Array(ids.length).fill(-1));
  const batch = { ids, positions, starts: Int32Array.of(0, ids.length), targets, targetCount: 0 };
  const { data } = await forwardLogits(model, batch, {});
  return data.subarray((ids.length - 1) * model.config.vocabSize);
}

for (const name of ["llama_linear", "mistral_window"]) {
  Deno.test(`a cache of ${name} is filled to its last place, every sequence beside the others`, async () => {
    const { kernels, shapes } = watched();
    using model = openCheckpoint(modelFixture(name).dir, kernels);
    using cache = createKvCache(model, CAPACITY, SEQUENCES.length);
    const width = model.config.vocabSize;
    for (const [begin, end] of [[0, 3], [3, 4], [4, 6]] as const) {
      shapes.length = 0;
      const logits = await decodeStep(model, cache, SEQUENCES.map((ids) => ids.subarray(begin, end)), {});
      // Queries are those of new tokens alone: what came before is read, not computed again.
      const sizes = shapes.map(({ queryRows, keyRows }) => [queryRows, keyRows]);
      assert.deepEqual(
        sizes,
        Array.from({ length: model.config.numHiddenLayers }, () => [2 * (end - begin), 2 * CAPACITY]),
      );
      for (const [s, ids] of SEQUENCES.entries()) {
        const own = logits.data.subarray(s * width, (s + 1) * width);
        assertWithin(
          `sequence ${s} at ${end}`,
          own,
          await lastLogits(model, ids.subarray(0, end)),
          REGROUPED,
        );
      }
    }
    assert.deepEqual([...cache.lengths], [CAPACITY, CAPACITY]);
    const before = cache.layers.map(({ keys }) => keys.data.slice());
    const more = decodeStep(model, cache, [Int32Array.of(), Int32Array.of(1)], {});
    await assert.rejects(more, /Sequence 1 has 7 tokens, the cache has room for 6/);
    cache.layers.forEach(({ keys }, layer) =>
      assertSameBits(`keys of layer ${layer}`, keys.data, before[layer]!)
    );
  });
}

Deno.test("tokens that are taken back, and a sequence that begins anew, leave nothing behind", async () => {
  using model = openCheckpoint(modelFixture("llama_linear").dir, referenceKernels());
  using cache = createKvCache(model, CAPACITY, 2);
  await decodeStep(model, cache, SEQUENCES, {});
  cache.lengths.set([2, 0]);
  const [a, b] = [Int32Array.of(3, 1, 7, 7), Int32Array.of(9)];
  const logits = await decodeStep(model, cache, [a.subarray(2), b], {});
  const width = model.config.vocabSize;
  assertWithin("taken back", logits.data.subarray(0, width), await lastLogits(model, a), REGROUPED);
  assertWithin("begun anew", logits.data.subarray(width), await lastLogits(model, b), REGROUPED);
  assert.deepEqual([...cache.lengths], [4, 1]);
});

Deno.test("a sequence without new tokens keeps its logits and its length; ids below 0 are refused", async () => {
  using model = openCheckpoint(modelFixture("llama_linear").dir, referenceKernels());
  using cache = createKvCache(model, CAPACITY, 2);
  const width = model.config.vocabSize;
  const first = (await decodeStep(model, cache, SEQUENCES.map((ids) => ids.subarray(0, 2)), {})).data.slice();
  const none = new Int32Array(0);
  assertSameBits("of no tokens", (await decodeStep(model, cache, [none, none], {})).data, first);
  const { data } = await decodeStep(model, cache, [none, Int32Array.of(4)], {});
  assertSameBits("left alone", data.subarray(0, width), first.subarray(0, width));
  assert.notDeepEqual(data[width], first[width]);
  assert.deepEqual([...cache.lengths], [2, 3]);
  await assert.rejects(
    decodeStep(model, cache, [none, Int32Array.of(-1)], {}),
    /Sequence 1 has token ids outside/,
  );
});

Deno.test("a cache is booked until it is disposed: keys and values of all layers, and logits", () => {
  const kernels = referenceKernels();
  using model = openCheckpoint(modelFixture("qwen3_tied").dir, kernels);
  const { numHiddenLayers, numKeyValueHeads, headDim, vocabSize } = model.config as DecoderConfig;
  const held = (name: "cache" | "logits") => kernels.ledger.held.get(name) ?? 0;
  const cache = createKvCache(model, 5, 3);
  assert.equal(held("cache"), 8 * 2 * numHiddenLayers * 3 * 5 * numKeyValueHeads * headDim);
  assert.equal(held("logits"), 8 * 3 * vocabSize);
  for (let i = 0; i < 2; i++) {
    cache[Symbol.dispose]();
    assert.deepEqual([held("cache"), held("logits")], [0, 0]);
  }
});

for (const name of MODEL_FIXTURES.filter((fixture) => modelFixture(fixture).names("greedy").length > 0)) {
  Deno.test(`the likeliest tokens of ${name} are those that transformers generates`, async () => {
    const { dir, batch: { ids, starts }, expected } = modelFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const [sequences, width] = [starts.length - 1, model.config.vocabSize];
    const wanted = expected("greedy");
    const count = wanted.length / sequences;
    using session = openDecoderSession(model, { capacity: 5 + count, sequences });
    const answers: number[][] = Array.from({ length: sequences }, () => []);
    let next = answers.map((_, s) => ids.slice(starts[s], Math.min(starts[s + 1]!, starts[s]! + 5)));
    for (let step = 0; step < count; step++) {
      const data = await session.append(next);
      next = answers.map((answer, s) => {
        const own = data.subarray(s * width, (s + 1) * width);
        answer.push(own.indexOf(Math.max(...own)));
        return Int32Array.of(answer.at(-1)!);
      });
    }
    assert.deepEqual(answers.flat(), [...wanted]);
  });
}
