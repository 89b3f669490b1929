// SPDX-License-Identifier: Apache-2.0
/** A pass through an encoder and its decoder: what is carried back, in which order, and where activations may lie meanwhile. */
import assert from "node:assert/strict";
import type { Batch } from "../../../../lib/data/batch.ts";
import { interleavedLossAndGradients, splitBatch } from "../../../../lib/models/engine/interleave.ts";
import { lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import { lowestTrained } from "../../../../lib/models/engine/stacks.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { layersOf } from "../../../../lib/models/parts.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { hooksOf } from "../../../fixtures/hooks.ts";
import { probeHook } from "../../../fixtures/probe_hook.ts";
import { trainableModel } from "../../../fixtures/trainable_model.ts";

const { dir, batch, expected } = checkpointFixture("encoder_decoders/bart");
const POLICIES = ["store", "recompute"] as const;
const lossScale = 1 / batch.targetCount;

function open(): Model {
  return openCheckpoint(dir, referenceKernels());
}

Deno.test("lowestTrained(): gradients go down to what is trained in a stack, and to what sees it", () => {
  using base = open();
  const lowestOf = (isTrained: (name: string) => boolean) => {
    using model = trainableModel(base, isTrained);
    return lowestTrained(model.parts, {});
  };
  // Of each stack: the input, layers of two sublayers or three, the output; the head is on the second.
  assert.deepEqual(lowestOf(() => false), [Infinity, Infinity]);
  assert.deepEqual(lowestOf((name) => name === "model.shared.weight"), [0, 0]);
  assert.deepEqual(lowestOf((name) => name.includes("decoder.layers.1.fc2")), [Infinity, 6]);
  assert.deepEqual(lowestOf((name) => name.includes("decoder.layers.0.encoder_attn.k_proj")), [Infinity, 2]);
  assert.deepEqual(lowestOf((name) => name.includes("encoder.layers.1.fc1")), [4, 2]);
  assert.deepEqual(lowestOf((name) => /(encoder.layers.0.fc1|decoder.layers.1.fc2)/.test(name)), [2, 2]);
  assert.deepEqual(lowestTrained(base.parts, hooksOf({ ffn: probeHook(1, false) })), [2, 2]);
});

for (const activations of POLICIES) {
  for (const side of ["encoder", "decoder"] as const) {
    Deno.test(`what is trained in the ${side} alone gets the gradients that it gets among all: ${activations}`, async () => {
      using base = open();
      using model = trainableModel(base, (name) => name.includes(`${side}.layers.1.`));
      await lossAndGradients(model, batch, {}, { activations, lossScale });
      assert(model.trainable.length > 0);
      for (const { name, grad } of model.trainable) {
        assertWithin(name, grad, expected(`weight_grad.${name}`), 1e-9);
      }
    });
  }

  Deno.test(`layers are left from the top of the decoder to the bottom of the encoder: ${activations}`, async () => {
    using model = open();
    const own = (order: string[]) => ({
      activations,
      lossScale,
      seeLoss: () => void order.push("loss"),
      afterLayer: (layer: number) => void order.push(String(layer)),
    });
    const hooks = hooksOf({ attention: probeHook(0.1, true), ffn: probeHook(0.1, false) });
    const [whole, halves, states]: [string[], string[], number[]] = [[], [], []];
    const tap = (state: number): void => void states.push(state);
    await lossAndGradients(model, batch, hooks, { ...own(whole), tap });
    assert.deepEqual(whole, ["loss", "3", "2", "1", "0"]);
    assert.deepEqual(states, [5, 4, 3, 2, 1, 0]);
    const split = splitBatch(batch);
    assert(split);
    await interleavedLossAndGradients(model, batch, split, () => ({ model, hooks }), own(halves));
    assert.deepEqual(halves, ["loss", "loss", "3", "2", "1", "0"]);
  });

  Deno.test(`activations of both stacks lie in idle memory, for the same bits: ${activations}`, async () => {
    const runs = [];
    for (const lends of [true, false]) {
      using base = open();
      using model = trainableModel(base);
      const memory = layersOf(base.parts).map(() => new Float64Array(1 << 17));
      const began: number[] = [];
      const idle = {
        untilBackward: (layer: number) => memory.slice(layer, layer + 1),
        beforeBackward: (layer: number) => {
          began.push(layer);
          memory[layer]?.fill(NaN);
        },
      };
      await lossAndGradients(model, batch, {}, { activations, lossScale, ...(lends && { idle }) });
      if (lends) assert.deepEqual(began, [3, 2, 1, 0]);
      runs.push({ bytes: base.kernels.arena.bytes, grads: model.trainable.map(({ grad }) => grad) });
    }
    const [lent, apart] = runs as [typeof runs[number], typeof runs[number]];
    lent.grads.forEach((grad, i) => assertSame(grad, apart.grads[i] as Float64Array));
    assert(lent.bytes < 0.9 * apart.bytes, `${lent.bytes} bytes with loans, ${apart.bytes} without`);
  });
}

Deno.test("splitBatch() gives each part the sources of its sequences, and cuts none that has one", () => {
  const parts = splitBatch(batch)?.parts ?? [];
  const { source } = batch;
  assert(source);
  assert.deepEqual(parts.map(({ batch }) => batch.starts.length - 1), [3, 1]);
  assert.deepEqual(parts.map(({ batch }) => [...batch.source?.starts ?? []]), [[0, 7, 8, 20], [0, 4]]);
  assertSame(Int32Array.from(parts.flatMap(({ batch }) => [...batch.source?.ids ?? []])), source.ids);
  assert.deepEqual(parts.map(({ firstToken, firstSource }) => [firstToken, firstSource]), [[0, 0], [9, 20]]);
  const one: Batch = {
    ...batch,
    starts: Int32Array.of(0, batch.ids.length),
    source: { ...source, starts: Int32Array.of(0, source.ids.length) },
  };
  assert.equal(splitBatch(one), null);
});

for (const activations of POLICIES) {
  Deno.test(`sequences of which nothing is written change nothing, with a source or without: ${activations}`, async () => {
    using base = open();
    using model = trainableModel(base);
    const { source } = batch;
    assert(source);
    const ragged: Batch = {
      ...batch,
      starts: Int32Array.of(0, 0, 5, 8, 9, 18, 18),
      source: {
        ids: Int32Array.of(4, 2, ...source.ids),
        positions: Int32Array.of(0, 1, ...source.positions),
        starts: Int32Array.of(0, 2, 9, 10, 22, 26, 26),
      },
    };
    const { lossSum } = await lossAndGradients(model, ragged, {}, { activations, lossScale });
    assertWithin("loss", [lossSum], expected("loss"), 1e-9);
    for (const { name, grad } of model.trainable) {
      assertWithin(name, grad, expected(`weight_grad.${name}`), 1e-9);
    }
    const split = splitBatch(ragged);
    assert(split);
    assert.deepEqual(split.parts.map(({ batch }) => batch.starts.length - 1), [4, 2]);
    const halves = { activations, lossScale };
    const attach = () => ({ model: base, hooks: {} });
    const again = await interleavedLossAndGradients(base, ragged, split, attach, halves);
    assertWithin("loss", [again.lossSum], expected("loss"), 1e-9);
  });
}
