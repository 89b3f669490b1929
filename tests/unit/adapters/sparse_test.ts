// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import type { AdapterParams } from "../../../lib/adapters/adapter.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import type { JsonObject } from "../../../lib/core/json.ts";
import { makeMicroBatch } from "../../../lib/data/batches.ts";
import { lossAndGradients } from "../../../lib/models/decoder.ts";
import type { Model } from "../../../lib/models/model.ts";
import type { Parameter } from "../../../lib/optim/parameters.ts";
import { assertSame, assertWithin } from "../../compare.ts";
import { wholeGradients } from "../train/gradients.ts";
import { parameterBytes, smallData, smallModel } from "../train/small_run.ts";

const TOKENS = 64;

function create(model: Model, kind: string, options: JsonObject, seed = 1): AdapterParams {
  const { adapter, problems } = resolveAdapter({ kind, options }, model.config);
  assert.deepEqual(problems, []);
  const params = adapter.create(model.kernels, model, TOKENS);
  params.init(model.kernels, seed);
  return params;
}

function values(params: AdapterParams, name: string): Float64Array {
  const parameter = params.parameters.find((candidate) => candidate.name.endsWith(name)) as Parameter;
  const data = parameter.kind === "dense" ? parameter.data : parameter.matrix.full;
  return data as Float64Array;
}

function deviation(numbers: Float64Array): number {
  return Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0) / numbers.length);
}

Deno.test("sparseAdapter() starts as published: normal keys, zero values, router rows 50 times the mean key", () => {
  using model = smallModel();
  // More rows than one random stream gives, and experts that lie across the border of two streams.
  const params = create(model, "sparse", { neurons: 2100, experts: 100, activeExperts: 8, topK: 64 });
  const keys = values(params, "1.mlp.meft.keys");
  const cols = model.config.hiddenSize;
  // The deviation of 50400 normal numbers is off by 1/sqrt(2n), 0.3%, usually.
  assertWithin(
    "deviation",
    [deviation(keys)],
    [model.config.initializerRange],
    0.01 * model.config.initializerRange,
  );
  assert.ok(values(params, "1.mlp.meft.values").every((x) => x === 0));
  const expected = Float64Array.from({ length: 100 * cols }, (_, i) => {
    const [expert, c] = [Math.floor(i / cols), i % cols];
    let sum = 0;
    for (let row = 21 * expert; row < 21 * expert + 21; row++) sum += keys[row * cols + c] as number;
    return 50 * sum / 21;
  });
  assertWithin("router", values(params, "1.mlp.meft.router"), expected, 1e-13);
});

Deno.test("sparseAdapter() draws every layer, and every seed, from numbers of its own", () => {
  using model = smallModel();
  const options = { neurons: 48, experts: 12, activeExperts: 2, topK: 3 };
  const [a, again, b] = [
    create(model, "sparse", options),
    create(model, "sparse", options),
    create(model, "sparse", options, 2),
  ];
  assertSame(parameterBytes(a.parameters), parameterBytes(again.parameters));
  assert.notDeepEqual(values(a, "0.mlp.meft.keys"), values(a, "1.mlp.meft.keys"));
  assert.notDeepEqual(values(a, "0.mlp.meft.keys"), values(b, "0.mlp.meft.keys"));
  const random = create(model, "sparse", { ...options, routerInit: "random", initStd: 0.5 });
  assertWithin("deviation", [deviation(values(random, "0.mlp.meft.router"))], [0.5], 0.1);
});

Deno.test("sparseAdapter() with K = r, N = 1 and no gate is the parallel adapter: same loss, same gradients", async () => {
  using model = smallModel();
  const sizes = { neurons: 9, experts: 1, activeExperts: 1, topK: 9, gate: "none" };
  const adapters = [create(model, "sparse", sizes), create(model, "parallel", { neurons: 9 })] as const;
  const batch = makeMicroBatch(smallData(), Int32Array.of(0, 1, 2)).batch;
  const results = [];
  for (const params of adapters) {
    for (const layer of [0, 1]) {
      for (const [stream, part] of ["keys", "values"].entries()) {
        model.kernels.randomNormal(values(params, `${layer}.mlp.meft.${part}`), 5, 2 * layer + stream, 0.3);
      }
    }
    const { hooks } = params.attach(model.kernels);
    const { lossSum } = await lossAndGradients(model, batch, hooks, { activations: "store", lossScale: 1 });
    results.push({ lossSum, gradients: wholeGradients(params.parameters) });
  }
  const [sparse, parallel] = results;
  assertWithin("loss", [sparse?.lossSum ?? NaN], [parallel?.lossSum ?? 0], 1e-11);
  assert.equal(parallel?.gradients.size, 4);
  for (const [name, expected] of parallel?.gradients ?? []) {
    assert.ok(expected.some((x) => x !== 0), name);
    assertWithin(name, sparse?.gradients.get(name) ?? [], expected, 1e-11);
  }
});

Deno.test("sparseAdapter() with frozen keys trains values and router only", async () => {
  using model = smallModel();
  const params = create(model, "sparse", {
    neurons: 12,
    experts: 3,
    activeExperts: 2,
    topK: 4,
    keys: "frozen",
  });
  const { hooks } = params.attach(model.kernels);
  const batch = makeMicroBatch(smallData(), Int32Array.of(0)).batch;
  await lossAndGradients(model, batch, hooks, { activations: "store", lossScale: 1 });
  const names = [...wholeGradients(params.parameters).keys()].map((name) => name.split(".").at(-1));
  assert.deepEqual(names, ["router", "values", "router", "values"]);
});

Deno.test("activeNeurons() is the mean over layers of neurons that fired", async () => {
  using model = smallModel();
  const params = create(model, "sparse", {
    neurons: 12,
    experts: 1,
    activeExperts: 1,
    topK: 1,
    gate: "none",
  });
  assert.equal(params.activeNeurons(), 0);
  const { hooks } = params.attach(model.kernels);
  const batch = makeMicroBatch(smallData(), Int32Array.of(0)).batch;
  await lossAndGradients(model, batch, hooks, { activations: "store", lossScale: 1 });
  assert.ok(params.activeNeurons() >= 1 && params.activeNeurons() <= batch.ids.length);
});
