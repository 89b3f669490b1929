// SPDX-License-Identifier: Apache-2.0
/** Sequences of a cache that go on from others: the same logits as if they had been decoded so, and no row moved in vain. */
import assert from "node:assert/strict";
import { decodeStep } from "../../../../lib/models/engine/decode.ts";
import { createKvCache } from "../../../../lib/models/engine/kv_cache.ts";
import { reorderCache } from "../../../../lib/models/engine/reorder_cache.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { assertSameBits } from "../../../compare.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";

const TEXTS = [[7, 3, 1], [7, 3, 2, 9], [7, 4], [5]].map((ids) => Int32Array.from(ids));

for (
  const [what, from, shared] of [
    ["two change places, one goes on from a third", [1, 0, 1, 3], [2, 2, 1, 1]],
    ["all go on from one", [1, 1, 1, 1], [2, 4, 1, 0]],
    ["three change places in turn", [2, 0, 1, 3], [1, 2, 1, 1]],
  ] as const
) {
  Deno.test(`reorderCache(): ${what}`, async () => {
    const sizes: number[] = [];
    const plain = referenceKernels();
    const copy: Kernels["copy"] = (to, source) => {
      sizes.push(to.length);
      plain.copy(to, source);
    };
    using model = openCheckpoint(modelFixture("llama_linear").dir, { ...plain, copy } as Kernels);
    using cache = createKvCache(model, 6, 4);
    using wanted = createKvCache(model, 6, 4);
    await decodeStep(model, cache, TEXTS, {});
    await decodeStep(model, wanted, from.map((source) => TEXTS[source] as Int32Array), {});
    sizes.length = 0;
    await reorderCache(model.kernels, cache, Int32Array.from(from), Int32Array.from(shared));
    const rows = from.map((source, s) =>
      source === s ? 0 : (TEXTS[source]?.length ?? 0) - (shared[s] as number)
    );
    const [, heads = 0, headDim = 0] = cache.layers[0]?.keys.shape ?? [];
    const moved = 2 * 2 * cache.layers.length * heads * headDim * rows.reduce((sum, count) => sum + count, 0);
    assert.equal(sizes.reduce((sum, size) => sum + size, 0), moved, "keys and values, to the arena and back");
    assert.deepEqual([...cache.lengths], [...wanted.lengths]);
    const next = from.map((_, s) => Int32Array.of(10 + s));
    const [own, other] = [
      await decodeStep(model, cache, next, {}),
      await decodeStep(model, wanted, next, {}),
    ];
    assertSameBits("logits", own.data, other.data);
  });
}

Deno.test("reorderCache() refuses sequences that are not there and tokens that are not shared", async () => {
  using model = openCheckpoint(modelFixture("llama_linear").dir, referenceKernels());
  using cache = createKvCache(model, 6, 2);
  await decodeStep(model, cache, TEXTS.slice(0, 2), {});
  const reorder = (from: number[], shared: number[]) =>
    reorderCache(model.kernels, cache, Int32Array.from(from), Int32Array.from(shared));
  await assert.rejects(reorder([0, 2], [0, 0]), /Sequence 1 cannot go on from 2/);
  await assert.rejects(reorder([1, 1], [4, 0]), /Sequences 0 and 1 do not share 4 tokens/);
  await assert.rejects(reorder([1, 1], [-1, 0]), /do not share -1 tokens/);
});
