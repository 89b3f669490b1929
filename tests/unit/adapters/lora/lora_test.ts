// SPDX-License-Identifier: Apache-2.0
import { layersOf, partOf } from "../../../../lib/models/parts.ts";
import assert from "node:assert/strict";
import { assertSame, largest } from "../../../compare.ts";
import { loraAdapter } from "../../../../lib/adapters/lora/lora.ts";
import { loraScale, resolveLora } from "../../../../lib/adapters/lora/config.ts";
import type { AdapterParams } from "../../../../lib/adapters/adapter.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { readConfig } from "../../../../lib/models/read_config.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { modelSites } from "../../../../lib/models/modules.ts";
import type { DenseParameter } from "../../../../lib/optim/parameters.ts";
import { smallModel } from "../../train/small_run.ts";

const SITES = modelSites(readConfig(modelFixture("llama3_tied").dir, [])!);

function started(model: Model, seed: number, targets: string | string[] = "all"): AdapterParams {
  const params = loraAdapter({ rank: 5, targets }, model.config).adapter.create(model.kernels, model, 0);
  params.init(model.kernels, seed);
  return params;
}

const dense = ({ parameters }: AdapterParams): DenseParameter[] =>
  parameters.filter((parameter) => parameter.kind === "dense");

Deno.test("loraAdapter() starts as PEFT does: A uniform within 1/sqrt(inputs), B zero", () => {
  using model = smallModel();
  const parameters = dense(started(model, 42));
  assert.equal(parameters.length, 2 * 7 * model.config.numHiddenLayers);
  for (const { name, shape, data } of parameters) {
    if (name.endsWith("lora_B.weight")) {
      assert.ok(data.every((x) => x === 0), name);
      continue;
    }
    const bound = 1 / Math.sqrt(shape[1] as number);
    const most = largest(data);
    assert.ok(most < bound && most > 0.9 * bound, `${name}: ${most} within ${bound}`);
  }
});

Deno.test("loraAdapter() draws every weight, and every seed, from numbers of its own", () => {
  using model = smallModel();
  const firsts = [42, 43].flatMap((seed) =>
    dense(started(model, seed)).filter(({ name }) => name.includes("lora_A"))
      .map(({ data, shape }) => (data[0] as number) * Math.sqrt(shape[1] as number))
  );
  assert.equal(new Set(firsts).size, firsts.length);
  assertSame(started(model, 42).parameters, started(model, 42).parameters);
  // Whatever else has a delta.
  const all = new Map(dense(started(model, 42)).map(({ name, data }) => [name, data]));
  for (const { name, data } of dense(started(model, 42, ["v", "down"]))) {
    assertSame(data, all.get(name), name);
  }
});

Deno.test("resolveLora() has PEFT's sizes by default, takes sites in any order, and lists every mistake at once", () => {
  const { settings, problems } = resolveLora({}, SITES);
  assert.deepEqual(problems, []);
  assert.deepEqual(settings, {
    rank: 8,
    alpha: 16,
    dropout: 0,
    useRslora: false,
    targets: ["q", "k", "v", "o", "gate", "up", "down"],
    excludeTargets: null,
    layersToTransform: null,
    layersPattern: null,
    rankPattern: {},
    alphaPattern: {},
    bias: "none",
  });
  assert.equal(loraScale(settings), 2);
  assert.equal(loraScale({ ...settings, rank: 16, useRslora: true }), 4);
  assert.deepEqual(resolveLora({ targets: ["down", "q"] }, SITES).settings.targets, ["q", "down"]);
  const wrong = { rank: 1.5, alpha: 0, dropout: 1, useRslora: "no", targets: ["q", 3], rnk: 2 };
  const said = resolveLora(wrong as unknown as Parameters<typeof resolveLora>[0], SITES).problems;
  for (
    const problem of [
      "rank is 1.5, expected a whole number",
      "alpha is 0, expected a number above 0",
      "dropout is 1, expected a number from 0 to below 1",
      'useRslora is "no", expected true or false',
      'targets is ["q",3], expected some of q, k, v, o, gate, up, down, ends of module names',
      '"rnk" is no option of LoRA; did you mean "rank"?',
    ]
  ) assert.ok(said.some((sentence) => sentence.startsWith(problem)), `${problem} in ${said}`);
  assert.equal(said.length, 6);
  assert.match(resolveLora({ targets: [] }, SITES).problems.join(), /targets is \[\], expected some of q/);
});

Deno.test("resolveLora() records options in one order, each once, whatever the order they were given in", () => {
  const { settings, problems } = resolveLora({
    targets: [
      "layers.1.mlp.up_proj",
      "down_proj",
      "layers.0.mlp.up_proj",
      "q",
      "down",
      "layers.1.mlp.up_proj",
    ],
    layersToTransform: [10, 9, 2, 9],
    rankPattern: { q: 2, ".*": 3 },
  }, SITES);
  assert.deepEqual(problems, []);
  assert.deepEqual(settings.targets, ["q", "down", "layers.0.mlp.up_proj", "layers.1.mlp.up_proj"]);
  assert.deepEqual(settings.layersToTransform, [2, 9, 10]);
  // The first pattern that matches counts: their order is kept.
  assert.deepEqual(Object.entries(settings.rankPattern), [["q_proj", 2], [".*", 3]]);
  assert.deepEqual(resolveLora({ layersToTransform: 3 }, SITES).settings.layersToTransform, [3]);
  assert.equal(resolveLora({ layersToTransform: [] }, SITES).settings.layersToTransform, null);
});

Deno.test("merged weights are summed in f64 and rounded once, with the scale and at the rows of their own site", () => {
  using model = smallModel();
  const options = { rank: 2, alpha: 6, targets: ["q", "v"], alphaPattern: { v: 2 }, layersToTransform: 1 };
  const { adapter, problems } = loraAdapter(options, model.config);
  assert.deepEqual(problems, []);
  const params = adapter.create(model.kernels, model, 0);
  for (const { name, data } of dense(params)) {
    // B A is 0 in f64, and 1e8 - 1e8 beside W.
    if (name.includes("lora_A")) data.forEach((_, i) => data[i] = i < data.length / 2 ? 1 : -1);
    else data.set([1e8, 1e8, 0.5, 0.25]);
  }
  const changes = [...params.merge!(model.kernels)];
  const module = "model.layers.1.self_attn";
  assert.deepEqual(changes.map(({ name }) => name), [`${module}.q_proj.weight`, `${module}.v_proj.weight`]);
  for (const [i, scale] of [3, 1].entries()) {
    const { rows, cols } = partOf(layersOf(model.parts)[1]!, "attention")!.inputs[2 * i]!.weight;
    const weights = new Float32Array(rows * cols).fill(1);
    changes[i]!.apply(weights);
    const expected = Float32Array.from(weights, (_, at) => at >= cols && at < 2 * cols ? 1 + scale / 4 : 1);
    assertSame(weights, expected);
  }
});
