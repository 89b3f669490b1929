// SPDX-License-Identifier: Apache-2.0
/** Decoding from a source that was encoded once. */
import assert from "node:assert/strict";
import type { Batch, BatchSource } from "../../../../lib/data/batch.ts";
import { decodeStep } from "../../../../lib/models/engine/decode.ts";
import { encodeSource } from "../../../../lib/models/engine/encode_source.ts";
import { createKvCache, type KvCache } from "../../../../lib/models/engine/kv_cache.ts";
import { forwardLogits } from "../../../../lib/models/engine/pass.ts";
import { reorderCache } from "../../../../lib/models/engine/reorder_cache.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { nativeKernels } from "../../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { countingKernels } from "../../../../lib/ops/counting/counting_kernels.ts";
import { weightlessModel } from "../../../../lib/models/described.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { assertWithin } from "../../../compare.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";

const WRITERS = ["encoder_decoders/bart", "encoder_decoders/mbart"];
const END = 2;
const NONE = new Int32Array();

/** The tokens of each sequence. */
function sequences({ ids, starts }: BatchSource | Batch): Int32Array[] {
  return Array.from(starts.subarray(1), (end, s) => ids.subarray(starts[s], end));
}

function sourcesOf(batch: Batch): Int32Array[] {
  assert(batch.source);
  return sequences(batch.source);
}

/** Tokens of each sequence until its end, the likeliest at each place. */
async function greedy(model: Model, cache: KvCache, most: number): Promise<number[][]> {
  const start = model.config.decoderIds?.startTokenId ?? END;
  const written: number[][] = Array.from({ length: cache.sequences }, () => []);
  let next = written.map(() => Int32Array.of(start));
  while (next.some(({ length }) => length > 0)) {
    const { data, shape: [, width = 0] } = await decodeStep(model, cache, next, {});
    next = next.map((tokens, s) => {
      if (tokens.length === 0) return NONE;
      const row = data.subarray(s * width, (s + 1) * width);
      const id = row.indexOf(Math.max(...row));
      written[s]!.push(id);
      return id === END || written[s]!.length === most ? NONE : Int32Array.of(id);
    });
  }
  return written;
}

const BACKENDS: Readonly<Record<string, () => Kernels & Disposable>> = {
  reference: () => ({ ...referenceKernels(), [Symbol.dispose]() {} }),
  native: () => nativeKernels({ compute: "f32" }),
};

for (const name of WRITERS) {
  for (const [backend, open] of Object.entries(BACKENDS)) {
    Deno.test(`${name} writes what transformers' greedy decoding writes, on ${backend} kernels`, async () => {
      const { dir, batch, integers } = checkpointFixture(name);
      using kernels = open();
      using model = openCheckpoint(dir, kernels);
      const sources = sourcesOf(batch);
      using cache = createKvCache(model, 9, sources.length, 12);
      await encodeSource(model, cache, sources, {});
      const wanted = sources.map((_, s) => [...integers(`greedy.${s}`)]);
      assert.deepEqual(await greedy(model, cache, 8), wanted);
    });
  }

  Deno.test(`${name}: tokens of many steps see what one pass sees, whichever are given together`, async () => {
    const { dir, batch, expected } = checkpointFixture(name);
    using model = openCheckpoint(dir, referenceKernels());
    const [sources, targets] = [sourcesOf(batch), sequences(batch)];
    using cache = createKvCache(model, 9, sources.length, 12);
    // In two calls, the later sources first.
    const only = (from: number, to: number) => sources.map((ids, s) => s >= from && s < to ? ids : NONE);
    await encodeSource(model, cache, only(2, 4), {});
    await encodeSource(model, cache, only(0, 2), {});
    const width = model.config.vocabSize;
    for (let at = 0; at < 9; at++) {
      const next = targets.map((ids) => ids.subarray(at, at + 1));
      const { data } = await decodeStep(model, cache, next, {});
      next.forEach(({ length }, s) => {
        if (length === 0) return;
        const row = (batch.starts[s]! + at) * width;
        assertWithin(
          `${s}`,
          data.slice(s * width, (s + 1) * width),
          expected("outputs").slice(row, row + width),
          1e-9,
        );
      });
    }
  });
}

Deno.test("sequences that go on from one another see its source, and keep it when that is given another", async () => {
  const { dir, batch, expected } = checkpointFixture("encoder_decoders/bart");
  using model = openCheckpoint(dir, referenceKernels());
  const [sources, targets] = [sourcesOf(batch), sequences(batch)];
  using cache = createKvCache(model, 9, 3, 12);
  await encodeSource(model, cache, [sources[0]!, sources[2]!, NONE], {});
  await decodeStep(model, cache, [targets[0]!.subarray(0, 2), NONE, NONE], {});
  await reorderCache(model.kernels, cache, Int32Array.of(0, 0, 0), Int32Array.of(2, 0, 0));
  cache.lengths[0] = 0;
  await encodeSource(model, cache, [sources[3]!, NONE, NONE], {});
  const next = [targets[3]!, targets[0]!.subarray(2), targets[0]!.subarray(2)];
  const { data } = await decodeStep(model, cache, next, {});
  const width = model.config.vocabSize;
  const last = (s: number) =>
    expected("outputs").slice((batch.starts[s + 1]! - 1) * width, batch.starts[s + 1]! * width);
  for (const [s, of] of [3, 0, 0].entries()) {
    assertWithin(`${s}`, data.slice(s * width, (s + 1) * width), last(of), 1e-9);
  }
});

Deno.test("a cache is as large as it is said to be, and has no keys of the encoder's own layers", () => {
  const { dir } = checkpointFixture("encoder_decoders/bart");
  using model = openCheckpoint(dir, referenceKernels());
  using cache = createKvCache(model, 9, 3, 12);
  // Two layers of width 8, keys and values of f64.
  assert.equal(model.kernels.ledger.held.get("cache"), 2 * 2 * 8 * 3 * (9 + 12) * 8);
  assert.deepEqual(cache.layers.map(({ keys }) => keys.data.length), [0, 0, 216, 216]);
  const counting = countingKernels(model.kernels);
  createKvCache(weightlessModel(model, counting), 9, 3, 12);
  assert.equal(counting.ledger.held.get("cache"), model.kernels.ledger.held.get("cache"));
});

Deno.test("encodeSource() and decodeStep() name what is wrong with a source", async () => {
  const { dir } = checkpointFixture("encoder_decoders/bart");
  using model = openCheckpoint(dir, referenceKernels());
  using cache = createKvCache(model, 4, 2, 3);
  const encode = (...sources: Int32Array[]) => encodeSource(model, cache, sources, {});
  await assert.rejects(() => encode(NONE), /1 sources for a cache of 2 sequences/);
  await assert.rejects(
    () => encode(NONE, new Int32Array(4)),
    /source of sequence 1 has 4 tokens.*room for 3/,
  );
  await assert.rejects(() => encode(Int32Array.of(23), NONE), /token id of the source of sequence 0/);
  await encode(NONE, Int32Array.of(4, 2));
  await decodeStep(model, cache, [NONE, Int32Array.of(2)], {});
  await assert.rejects(
    () => decodeStep(model, cache, [Int32Array.of(2), NONE], {}),
    /Nothing was encoded for sequence 0/,
  );
  using decoder = openCheckpoint(modelFixture("opt").dir, referenceKernels());
  using own = createKvCache(decoder, 4);
  assert.equal(own.source, null);
  await assert.rejects(() => encodeSource(decoder, own, [Int32Array.of(4)], {}), /has no encoder/);
});

Deno.test("a batch has a source exactly where the model reads one, and every sequence has its own", async () => {
  const { dir, batch } = checkpointFixture("encoder_decoders/bart");
  using model = openCheckpoint(dir, referenceKernels());
  const { source, ...bare } = batch;
  assert(source);
  const run = (own: Batch, of: Model = model) => forwardLogits(of, own, {});
  await assert.rejects(() => run(bare), /reads a source with its encoder, the batch has none/);
  const empty = { ...source, starts: Int32Array.of(0, 7, 7, 20, 24) };
  await assert.rejects(() => run({ ...batch, source: empty }), /source of sequence 1 has no tokens/);
  const fewer = { ...source, starts: Int32Array.of(0, 7, 24) };
  await assert.rejects(
    () => run({ ...batch, source: fewer }),
    /starts of the source has 3 elements, expected 5/,
  );
  const unknown = { ...source, ids: source.ids.map(() => 23) };
  await assert.rejects(() => run({ ...batch, source: unknown }), /id of source token 0 is 23/);
  using decoder = openCheckpoint(modelFixture("opt").dir, referenceKernels());
  await assert.rejects(() => run(batch, decoder), /The batch has a source, the model no encoder/);
});
