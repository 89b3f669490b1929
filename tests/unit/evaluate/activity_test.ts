// SPDX-License-Identifier: Apache-2.0
import { ok, rejects, strictEqual } from "node:assert/strict";
import { assertSame } from "../../compare.ts";
import { exampleLength } from "../../../lib/data/dataset.ts";
import { inspectDataset, inspectExample } from "../../../lib/evaluate/activity.ts";
import { full } from "../../../lib/methods/methods.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { SMALL_SPARSE, smallData, smallModel, smallOptions } from "../train/small_run.ts";

Deno.test("inspectExample() tells each layer's neurons for each token of one example", async () => {
  using model = smallModel();
  const data = smallData();
  const run = plan(model, smallOptions());
  const training = train(run, data);
  for await (const _ of training);
  const { adapter } = training;
  ok(adapter);
  const before = adapter.activeNeurons();
  const layers = await inspectExample(model, adapter, data, 3);
  strictEqual(layers.length, model.config.numHiddenLayers);
  const tokens = exampleLength(data, 3);
  for (const layer of layers) {
    strictEqual(layer.pairOffsets.length, tokens + 1);
    strictEqual(layer.pairOffsets[tokens], layer.pairNeurons.length);
    strictEqual(layer.pairScores.length, layer.pairNeurons.length);
    ok(layer.pairScores.every((score) => score > 0));
    ok(layer.pairsPerToken.every((count) => count <= SMALL_SPARSE.topK));
    strictEqual(layer.expertLoad.reduce((a, b) => a + b, 0), tokens * SMALL_SPARSE.activeExperts);
    assertSame(layer.firedNeurons, Int32Array.from(new Set(layer.pairNeurons)).sort());
  }
  ok(layers.some((layer) => layer.pairNeurons.length > 0));
  strictEqual(adapter.activeNeurons(), before);
  assertSame(await inspectExample(model, adapter, data, 3), layers);
});

Deno.test("inspectExample() refuses an adapter without neurons", async () => {
  using model = smallModel();
  const run = plan(model, smallOptions({ method: full() }));
  const { params } = init(run);
  await rejects(
    inspectExample(model, params, smallData(), 0),
    /of the kind full: only a sparse one has neurons/,
  );
});

Deno.test("inspectDataset() counts over all examples what inspectExample() tells of each", async () => {
  using model = smallModel();
  const data = smallData();
  const run = plan(model, smallOptions());
  const training = train(run, data);
  for await (const _ of training);
  const { adapter } = training;
  ok(adapter);
  const { neurons, experts } = SMALL_SPARSE;
  const layers = Array.from({ length: model.config.numHiddenLayers }, () => ({
    expertLoad: new Float64Array(experts),
    neuronTokens: new Float64Array(neurons),
  }));
  let [tokens, fired] = [0, 0];
  for (let example = 0; example < 12; example++) {
    tokens += exampleLength(data, example);
    (await inspectExample(model, adapter, data, example)).forEach((layer, i) => {
      layer.expertLoad.forEach((load, expert) => layers[i]!.expertLoad[expert]! += load);
      for (const neuron of layer.pairNeurons) layers[i]!.neuronTokens[neuron]! += 1;
      fired += layer.pairNeurons.length;
    });
  }
  const seen = await inspectDataset(model, adapter, data, { microBatchSize: 5 });
  assertSame(seen.layers, layers);
  strictEqual(seen.tokens, tokens);
  strictEqual(seen.neuronsPerToken, fired / layers.length / tokens);
  const dead = layers.flatMap(({ neuronTokens }) => [...neuronTokens]).filter((count) => count === 0).length;
  ok(dead > 0, "the case has dead neurons");
  ok(Math.abs(seen.deadNeurons - dead / neurons / layers.length) <= 1e-15);
  const loads = layers.map(({ expertLoad }) =>
    Math.max(...expertLoad) / (expertLoad.reduce((a, b) => a + b) / experts)
  );
  ok(Math.abs(seen.loadImbalance - (loads[0]! + loads[1]!) / 2) <= 1e-12);
  const firstTokens = [0, 1, 2].reduce((sum, i) => sum + exampleLength(data, i), 0);
  for (const microBatchSize of [1, 2, 16]) {
    const first = await inspectDataset(model, adapter, data, { examples: 3, microBatchSize });
    strictEqual(first.tokens, firstTokens, `${microBatchSize} at once, 3 and no more`);
  }
});
