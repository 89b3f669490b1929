// SPDX-License-Identifier: Apache-2.0
import { hookBeside } from "../../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import type { AdapterParams, AttachOptions, RowPlacement } from "../../../../lib/adapters/adapter.ts";
import type { HostResiduals } from "../../../../lib/adapters/sparse/host.ts";
import { resolveAdapter } from "../../../../lib/adapters/registry.ts";
import type { JsonObject } from "../../../../lib/core/json.ts";
import { makeMicroBatch } from "../../../../lib/data/batches.ts";
import { evaluateLoss, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { clearGradients, type Parameter } from "../../../../lib/optim/parameters.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { wholeGradients } from "../../train/gradients.ts";
import { parameterBytes, smallData, smallModel } from "../../train/small_run.ts";

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

const PLACEMENTS: readonly RowPlacement[] = [{ kind: "host" }, { kind: "device", cachedRows: 5 }];

for (const placement of PLACEMENTS) {
  Deno.test(`layerActivity() counts the tokens of each expert over all passes, and what fired in the last step: ${placement.kind}`, async () => {
    using model = smallModel();
    const sizes = { neurons: 12, experts: 4, activeExperts: 2, topK: 3 };
    const params = create(model, "sparse", sizes);
    const { batch } = makeMicroBatch(smallData(), Int32Array.of(0, 3));
    const { hooks } = params.attach(model.kernels, { placement });
    for (let pass = 1; pass <= 3; pass++) {
      await lossAndGradients(model, batch, hooks, { activations: "store", lossScale: 1 });
      for (const { neurons, expertTokens } of params.layerActivity!()) {
        assert.equal(neurons, 12);
        assert.equal(expertTokens.length, 4);
        assert.equal(expertTokens.reduce((sum, tokens) => sum + tokens), pass * 2 * batch.ids.length);
      }
    }
    await params.collectGradients!();
    const fired = params.layerActivity!().map(({ firedNeurons }) => [...firedNeurons]);
    for (const ofLayer of fired) {
      assert.ok(ofLayer.length >= 1 && new Set(ofLayer).size === ofLayer.length);
    }
    const mean = (fired[0]!.length + fired[1]!.length) / 2;
    assert.equal(params.activeNeurons(), mean);
    clearGradients(model.kernels, params.parameters);
    assert.deepEqual([params.activeNeurons(), params.layerActivity!()[0]!.firedNeurons.length], [0, 0]);
    assert.equal(params.rowTraffic!() === null, placement.kind === "host");
  });

  Deno.test(`a layer in which nothing fires adds nothing, whatever memory held before: ${placement.kind}`, async () => {
    using model = smallModel();
    const params = create(model, "sparse", {
      neurons: 12,
      experts: 4,
      activeExperts: 2,
      topK: 3,
      keys: "frozen",
    });
    const { batch } = makeMicroBatch(smallData(), Int32Array.of(0, 3));
    const options = { activations: "store", lossScale: 1 } as const;
    const base = await evaluateLoss(model, batch, {});
    model.kernels.randomNormal(values(params, "0.mlp.meft.values"), 5, 1, 0.3);
    const { hooks } = params.attach(model.kernels, { placement });
    const before = await lossAndGradients(model, batch, hooks, options);
    assert.notEqual(before.lossSum, base.lossSum);
    await params.collectGradients!();
    // Keys of 0 score 0 with every token.
    for (const layer of [0, 1]) values(params, `${layer}.mlp.meft.keys`).fill(0);
    clearGradients(model.kernels, params.parameters);
    const none = await lossAndGradients(model, batch, hooks, options);
    await params.collectGradients!();
    assert.equal(none.lossSum, base.lossSum);
    assert.equal(params.activeNeurons(), 0);
    for (const [name, gradient] of wholeGradients(params.parameters)) {
      assert.ok(gradient.every((x) => x === 0), name);
    }
  });
}

Deno.test("a layer in which nothing fires leaves the gradients of the layers below alone, whatever memory held before", async () => {
  const { batch } = makeMicroBatch(smallData(), Int32Array.of(0, 3));
  const gradients = async (placement: RowPlacement) => {
    using model = smallModel();
    const params = create(model, "sparse", { neurons: 12, experts: 4, activeExperts: 2, topK: 3 });
    for (const layer of [0, 1]) {
      model.kernels.randomNormal(values(params, `${layer}.mlp.meft.values`), 5, layer, 0.3);
    }
    const { hooks } = params.attach(model.kernels, { placement });
    for (const silent of [false, true]) {
      if (silent) values(params, "1.mlp.meft.keys").fill(0);
      clearGradients(model.kernels, params.parameters);
      await lossAndGradients(model, batch, hooks, { activations: "store", lossScale: 1 });
      await params.collectGradients!();
    }
    return wholeGradients(params.parameters);
  };
  const [host, device] = [await gradients(PLACEMENTS[0]!), await gradients(PLACEMENTS[1]!)];
  assert.ok(host.get("base_model.model.model.layers.0.mlp.meft.values")!.some((x) => x !== 0));
  for (const [name, expected] of host) assertWithin(name, device.get(name) ?? [], expected, 1e-11);
});

for (const placement of PLACEMENTS) {
  for (const gate of ["raw", "softmax", "sigmoid", "none"]) {
    Deno.test(`a branch in which nothing fires writes zeros over what was there: gate ${gate}, ${placement.kind}`, async () => {
      using model = smallModel();
      const { kernels: k, config: { hiddenSize } } = model;
      const sizes = { neurons: 12, experts: 4, activeExperts: 2, topK: 3, routerInit: "random", gate };
      const params = create(model, "sparse", sizes);
      model.kernels.randomNormal(values(params, "1.mlp.meft.values"), 5, 1, 0.3);
      values(params, "1.mlp.meft.keys").fill(0);
      const ffn = hookBeside(params.attach(k, { placement }).hooks);
      const shape = [5, hiddenSize];
      const normal = (stream: number) => {
        const data = k.floats(5 * hiddenSize);
        k.randomNormal(data, 3, stream, 1);
        return { shape, data };
      };
      const poisoned = () => ({ shape, data: k.floats(5 * hiddenSize).fill(NaN) });
      const [h, dy, y, dh] = [normal(0), normal(1), poisoned(), poisoned()];
      const residuals = await ffn.forward(1, h, y);
      await ffn.finish?.(1, residuals, h, y);
      await ffn.backward(1, residuals, h, dy, dh);
      await ffn.finishBackward?.(1, residuals, h, dy, dh);
      assert.ok(y.data.every((x) => x === 0), "y");
      assert.ok(dh.data.every((x) => x === 0), "dh");
    });
  }
}

Deno.test("the parallel branch writes over what was there, and gradients are added to", async () => {
  using model = smallModel();
  const { kernels: k, config: { hiddenSize: cols } } = model;
  const params = create(model, "parallel", { neurons: 2 });
  const [keys, vals] = [values(params, "1.mlp.meft.keys"), values(params, "1.mlp.meft.values")];
  // The first neuron fires for the first token, the second for none.
  keys.fill(0);
  [keys[0], keys[cols]] = [2, -1];
  vals.forEach((_, i) => vals[i] = i < cols ? 3 : 5);
  const ffn = hookBeside(params.attach(k).hooks);
  const tensor = (fill: number) => ({ shape: [2, cols], data: new Float64Array(2 * cols).fill(fill) });
  const [h, dy, y, dh] = [tensor(1), tensor(1), tensor(NaN), tensor(NaN)];
  h.data.fill(-1, cols);
  h.data[cols] = 0; // the second token's dots are 0
  const held = k.arena.usedBytes;
  await ffn.forward(1, h, y);
  assert.ok(y.data.every((x, i) => x === (i < cols ? 6 : 0)));
  for (const passes of [1, 2]) {
    await ffn.backward(1, null, h, dy, dh.data.fill(NaN) && dh);
    assert.ok(dh.data.every((x, i) => x === (i === 0 ? 3 * cols * 2 : 0)));
    const gradients = wholeGradients(params.parameters);
    const of = (part: string) => gradients.get(`base_model.model.model.layers.1.mlp.meft.${part}`)!;
    assert.ok(of("values").every((x, i) => x === (i < cols ? 2 * passes : 0)));
    assert.ok(of("keys").every((x, i) => x === (i < cols ? 3 * cols * passes : 0)));
  }
  assert.equal(k.arena.usedBytes, held, "nothing stays in the arena");
});

Deno.test("in scope union what fired is not kept, whoever looked at it, but the neurons that any token fired", async () => {
  using model = smallModel();
  const { kernels: k } = model;
  const forward = async (scope: string) => {
    const params = create(model, "sparse", { neurons: 12, experts: 4, activeExperts: 2, topK: 3, scope });
    const seen: [number, number][] = [];
    const onFired: AttachOptions["onFired"] = (layer, { pairNeurons }) =>
      void seen.push([layer, pairNeurons.length]);
    const ffn = hookBeside<HostResiduals>(params.attach(k, { onFired }).hooks);
    const h = { shape: [5, model.config.hiddenSize], data: k.floats(5 * model.config.hiddenSize) };
    k.randomNormal(h.data, 3, 0, 1);
    const mark = k.hostArena.mark();
    const before = k.hostArena.usedBytes;
    const { fired } = await ffn.forward(1, h, { ...h, data: h.data.slice() });
    const kept = k.hostArena.usedBytes - before;
    k.hostArena.release(mark);
    assert.ok(fired.pairCount > 0);
    assert.deepEqual(seen, [[1, fired.pairCount]]);
    return { kept, united: "united" in fired };
  };
  const [union, token] = [await forward("union"), await forward("token")];
  assert.deepEqual([union.united, token.united], [true, false]);
  // Experts (5,2) and (4), and room for all 12 neurons: 104 bytes, and what 64 bytes of alignment are between them.
  assert.ok(union.kept >= 104 && union.kept < 104 + 3 * 64, `${union.kept} bytes`);
});

Deno.test("the sparse adapter says why it cannot be merged: who chooses a token's neurons", () => {
  using model = smallModel();
  const refusal = (scope: string) =>
    resolveAdapter({ kind: "sparse", options: { scope } }, model.config).adapter.mergeRefusal;
  assert.match(refusal("token") ?? "", /^each token chooses neurons of its own \(top-K among its experts\)/);
  assert.match(refusal("union") ?? "", /chosen by the tokens beside it \(top-K over the micro-batch\)/);
});

Deno.test("an adapter refuses a layer that it has not", async () => {
  using model = smallModel();
  const options = { neurons: 4, experts: 2, activeExperts: 1, topK: 1 };
  for (const [kind, sizes] of [["sparse", options], ["parallel", { neurons: 4 }]] as const) {
    const ffn = hookBeside(create(model, kind, sizes).attach(model.kernels).hooks);
    const h = { shape: [1, 24], data: new Float64Array(24) };
    const call = async () => void await ffn.forward(2, h, { ...h, data: new Float64Array(24) });
    await assert.rejects(call, /The adapter has 2 layers, and nothing in layer 2/);
  }
});
