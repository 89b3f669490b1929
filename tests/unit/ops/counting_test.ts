// SPDX-License-Identifier: Apache-2.0
/** Kernels that only count: what they book is what a plain loop over the same shapes would do. */
import assert from "node:assert/strict";
import type { Weight } from "../../../lib/tensor/tensor.ts";
import { countingKernels } from "../../../lib/ops/counting/counting_kernels.ts";
import { phantom, type PHANTOMS } from "../../../lib/ops/counting/phantom.ts";
import { unitedNeurons } from "../../../lib/ops/sparse_pairs.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";

const weightOf = (rows: number, cols: number): Weight => ({
  ...{ name: "w", dtype: "f32", rows, cols, data: null, mapped: null, grad: null },
});

Deno.test("phantom arrays pass for typed arrays, and have no elements", () => {
  const real = { f32: Float32Array, f64: Float64Array, bf16: Uint16Array, i16: Int16Array, i32: Int32Array };
  for (const [type, kind] of Object.entries(real)) {
    const array = phantom(type as "f32", 1e12);
    assert.ok(array instanceof kind, type);
    assert.equal(array.byteLength, 1e12 * kind.BYTES_PER_ELEMENT);
    assert.equal(array.buffer.byteLength, array.byteLength);
    const part = array.subarray(10, 30).subarray(5);
    assert.deepEqual([part.length, part.byteOffset], [15, 15 * kind.BYTES_PER_ELEMENT]);
    assert.equal(part.buffer, array.buffer);
    assert.deepEqual([array.subarray(-3).length, array.subarray(5, 2).length], [3, 0]);
    assert.notEqual(part.slice().buffer, array.buffer);
    assert.equal(array.fill(7), array);
    assert.deepEqual([...array], []);
    // As the ring of a link makes views like another array.
    const View = array.constructor as typeof PHANTOMS.f32;
    assert.equal(new View(array.buffer as ArrayBuffer, 8, 4).byteLength, 4 * kind.BYTES_PER_ELEMENT);
  }
});

Deno.test("attention is counted by the pairs of a query and a key that it sees", () => {
  const heads = 3, headDim = 5;
  const spans: readonly (readonly number[])[] = [
    [0, 7, 0, 7],
    [0, 4, 0, 4, 4, 9, 4, 9],
    [0, 2, 0, 11], // two new tokens behind nine
    [0, 1, 0, 1],
    [0, 9, 0, 9, 9, 9, 9, 11], // of no queries
  ];
  const cross = [0, 9, 0, 4, 0, 3, 4, 4, 3, 5, 4, 11]; // more queries than keys, no keys, fewer
  const sides = (["past", "all"] as const).flatMap((sees) =>
    [0, 1, 2, 3, 4, 9, 40].flatMap((window) => spans.map((of) => ({ sees, window, of })))
  );
  for (const { sees, window, of } of [...sides, { sees: "all", window: 0, of: cross } as const]) {
    let pairs = 0;
    for (let s = 0; s < of.length; s += 4) {
      const [queryBegin = 0, queryEnd = 0, keyBegin = 0, keyEnd = 0] = of.slice(s, s + 4);
      for (let q = queryBegin; q < queryEnd; q++) {
        const place = keyEnd - (queryEnd - q); // the last query sits at the last key
        for (let key = keyBegin; key < keyEnd; key++) {
          const within = sees === "past" ? key > place - window : 2 * Math.abs(key - place) <= window;
          if ((sees === "all" || key <= place) && (window === 0 || within)) pairs++;
        }
      }
    }
    const k = countingKernels(referenceKernels());
    const none = k.floats(0);
    const rows = { queryRows: 9, keyRows: 11, heads, kvHeads: 1, headDim };
    const shape = { ...rows, sees, window, scale: 1, softcap: 0 };
    k.attentionForward(none, none, none, none, none, Int32Array.from(of), shape);
    const what = `${of}, sees ${sees}, window ${window}`;
    assert.equal(k.counts.work.model.attention, 4 * pairs * heads * headDim, what);
    k.attentionBackward(none, none, none, none, none, none, none, none, none, Int32Array.from(of), shape);
    assert.equal(k.counts.work.model.attention, 14 * pairs * heads * headDim, what);
  }
});

Deno.test("products and streams are put down to whoever's kernels are asked, on one memory", () => {
  const k = countingKernels(referenceKernels());
  const { counts } = k;
  const [x, y] = [k.floats(4 * 6), k.floats(4 * 5)];
  k.linearForward(y, x, weightOf(5, 6), null, 4, false);
  k.linearBackwardData(x, y, weightOf(5, 6), 4, false);
  k.adapter.linearBackwardWeight(k.floats(30), null, y, x, 4, 5, 6);
  k.twin().adapter.add(x, x);
  assert.equal(k.adapter.twin(), k.twin().adapter);
  assert.ok(k.adapter.arena === k.arena && k.adapter.link === k.link && k.adapter.hostJobs === k.hostJobs);
  const products = 2 * 4 * 5 * 6;
  assert.deepEqual(counts.work, {
    model: { forward: products, backward: products, attention: 0, streamBytes: 0 },
    adapter: { forward: 0, backward: products, attention: 0, streamBytes: 3 * 8 * 24 },
  });
  assert.ok(counts.scratch.model > 0);
});

Deno.test("memory is booked by class, a device's in a ledger of its own, and given back", () => {
  const host = countingKernels(referenceKernels());
  host.arena.f64(100);
  assert.equal(host.ledger.held.get("activations"), 832, "in whole lines");
  const k = countingKernels({ ...referenceKernels(), device: true });
  const { device } = k;
  assert.ok(device);
  const there = k.modelFloats(10, "parameters");
  assert.ok(device.holds(there) && !device.holds(k.floats(10)));
  assert.deepEqual([device.ledger.held.get("parameters"), k.ledger.held.get("parameters")], [
    80,
    undefined,
  ]);
  device.release(there.buffer);
  device.release(there.buffer); // of nothing
  assert.deepEqual(device.bytes(), { held: 0, peak: 80 });
  // A device's arena reserves whole blocks, whatever it touches of them.
  k.arena.f64(1);
  assert.equal(device.ledger.held.get("activations"), k.arena.blockBytes);
  assert.notEqual(k.twin().arena, k.arena);
  assert.equal(k.twin().counts, k.counts);
  assert.equal(k.twin().twin(), k.twin());
});

Deno.test("rows that fire are at most one for each pair, others each time, and expected as unitedNeurons() says", () => {
  const [neurons, tokens, topK] = [100, 4, 5];
  const shape = {
    ...{ gate: "raw", scope: "token", tokens, hidden: 8, neurons } as const,
    ...{ experts: 1, activeExperts: 1, topK },
  };
  for (const reach of ["most", "expected"] as const) {
    const k = countingKernels(referenceKernels(), { rows: { reach, tokens: 3 * tokens } });
    const [keys, values] = [k.rowMatrix(neurons, 8), k.rowMatrix(neurons, 8)];
    const cache = k.rowCache(neurons, neurons);
    const met = [1, 2, 3].map((times) => {
      const pairs = {
        offsets: k.indices(tokens + 1),
        neurons: k.hostArena.i32(tokens * topK),
        dots: k.floats(tokens * topK),
        scores: k.floats(tokens * topK),
      };
      const routing = { logits: k.floats(tokens), experts: k.indices(tokens), expertTokens: k.indices(1) };
      const floats = { h: k.floats(8 * tokens), gateWeight: k.floats(8) };
      const count = k.sparseBranchForward(
        null,
        { shape, ...floats, keys, values, routing, pairs },
        null,
      ) as number;
      const rows = k.firedRows({ shape, routing, pairs, pairCount: count });
      cache.take(rows);
      assert.equal(
        k.pairColumns({ shape, routing, pairs, pairCount: count }, rows, rows).length,
        tokens * topK,
      );
      const all = unitedNeurons({ ...shape, tokens: times * tokens });
      assert.equal(rows.length, reach === "most" ? tokens * topK : unitedNeurons(shape));
      assert.equal(cache.counts.misses, reach === "most" ? times * tokens * topK : all);
      return cache.used;
    });
    // The most that a step of three such micro-batches has in its slots, in each of them.
    assert.deepEqual(met, reach === "most" ? [60, 60, 60] : [19, 33, 46]);
  }
});
