// SPDX-License-Identifier: Apache-2.0
/** Several things trained in one run: gradients, files and checkpoints are those of each, and nothing is lost between them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Adapter } from "../../lib/adapters/adapter.ts";
import { attachAdapter } from "../../lib/adapters/attach.ts";
import { joinedAdapters, joiningProblems } from "../../lib/adapters/joined.ts";
import { type AdapterSpec, resolveAdapter } from "../../lib/adapters/registry.ts";
import { forwardLogits } from "../../lib/models/engine/pass.ts";
import type { Model } from "../../lib/models/model.ts";
import { openCheckpoint } from "../../lib/models/load.ts";
import { headNames } from "../../lib/models/tensor_names.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { loadAdapter, saveAdapter } from "../../lib/train/adapters.ts";
import { train } from "../../lib/train/loop.ts";
import { plan, type Run } from "../../lib/train/plan.ts";
import { lora, sparse } from "../../lib/methods/methods.ts";
import { assertSame } from "../compare.ts";
import { checkpointFixture } from "../fixtures/checkpoint_fixture.ts";
import { normAdapter } from "../fixtures/norm_adapter.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "../unit/train/small_run.ts";
import { assertGradients, batch, stir, WAYS } from "./adapter_gradients.ts";

const SPARSE: AdapterSpec = {
  kind: "sparse",
  options: { neurons: 12, experts: 4, activeExperts: 2, topK: 4 },
};
const LORA: AdapterSpec = { kind: "lora", options: { rank: 2, dropout: 0.3, targets: ["q", "down"] } };
const PARALLEL: AdapterSpec = { kind: "parallel", options: { neurons: 5 } };

const of = (spec: AdapterSpec, model: Model): Adapter => resolveAdapter(spec, model.config).adapter;

const JOINED: readonly (readonly [string, (model: Model) => readonly [Adapter, ...Adapter[]]])[] = [
  ["a sparse adapter and a LoRA", (model) => [of(SPARSE, model), of(LORA, model)]],
  ["a branch and products of the same sublayer", (model) => [of(PARALLEL, model), of(LORA, model)]],
  ["an adapter and the norms", (model) => [of(LORA, model), normAdapter]],
  ["three", (model) => [of(SPARSE, model), normAdapter, of(LORA, model)]],
];

for (const [name, adapters] of JOINED) {
  Deno.test(`${name} in one run: gradients match finite differences, whichever way they are computed`, async () => {
    using model = smallModel();
    const adapter = joinedAdapters(adapters(model));
    const params = adapter.create(model.kernels, model, 64);
    params.init(model.kernels, 42);
    stir(model, params);
    const ways = WAYS.filter(({ placement }) => adapter.placements.includes(placement.kind));
    await assertGradients(model, params, adapter.placements.includes("host") ? ways : WAYS.slice(0, 4));
    const held = [...model.kernels.ledger.held.values()].reduce((a, b) => a + b, 0);
    params.release();
    assert.ok([...model.kernels.ledger.held.values()].reduce((a, b) => a + b, 0) < held);
  });

  Deno.test(`${name} in one run: the model's output does not change at the start, and sizes are those of what is made`, async () => {
    using model = smallModel();
    const before = await forwardLogits(model, batch, {});
    const adapter = joinedAdapters(adapters(model));
    const params = adapter.create(model.kernels, model, 64);
    params.init(model.kernels, 42);
    const { model: attached, hooks } = attachAdapter(model, params);
    assertSame((await forwardLogits(attached, batch, hooks)).data, before.data);
    assert.equal(attachAdapter(model, params).model, attached, "built once");
    const { parameters } = adapter.sizes(model, 64);
    assert.deepEqual(parameters.map(({ name }) => name), params.parameters.map(({ name }) => name));
    params.release();
  });
}

Deno.test("the first of several starts as it does alone, and the others draw other numbers", () => {
  using model = smallModel();
  const start = (all: readonly [Adapter, ...Adapter[]]) => {
    const params = joinedAdapters(all).create(model.kernels, model, 64);
    params.init(model.kernels, 42);
    return parameterBytes(params.parameters);
  };
  const [lora, parallel] = [of(LORA, model), of(PARALLEL, model)];
  const [alone, other, both] = [start([lora]), start([parallel]), start([lora, parallel])];
  assert.deepEqual([...both.keys()], [...alone.keys(), ...other.keys()]);
  for (const [name, bytes] of alone) assertSame(both.get(name), bytes, name);
  const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
  for (const [name, bytes] of other) {
    assert.equal(String(both.get(name)) === String(bytes), isZero(bytes), name);
  }
});

Deno.test("what has the same tensors is not trained together", () => {
  using model = smallModel();
  const [lora, full] = [of(LORA, model), of({ kind: "full", options: {} }, model)];
  assert.deepEqual(joiningProblems([lora, full], model), []);
  const other = of({ kind: "lora", options: { targets: ["q"], rank: 1 } }, model);
  const refused = (also: readonly AdapterSpec[], message: RegExp) => {
    const method = sparse(SPARSE.options);
    assert.throws(() => plan(model, smallOptions({ method, also })), message);
  };
  assert.match(
    joiningProblems([lora, full, other], model)[0] ?? "",
    /^lora and lora cannot be trained together: both/,
  );
  assert.equal(joiningProblems([lora, full, other], model).length, 1);
  refused(
    [PARALLEL],
    /sparse and parallel cannot be trained together: both have a tensor ".*0\.mlp\.meft\.keys"/,
  );
  refused([LORA, { kind: "lora", options: { rank: 0 } }], /rank is 0/);
});

Deno.test("no weight is replaced twice", () => {
  using model = smallModel();
  const full = of({ kind: "full", options: {} }, model);
  assert.equal(joiningProblems([full, normAdapter], model).length, 1);
  const twice = joinedAdapters([full, normAdapter]).create(model.kernels, model, 64);
  assert.throws(() => twice.attach(model.kernels), /Tensor "model\.layers\.0\..*" of .* is trained twice/);
  twice.release();
});

/** Trains to the end, in a folder. */
async function trained(run: Run, options: { readonly resume?: boolean; readonly stopAt?: number } = {}) {
  const stop = new AbortController();
  const { stopAt, ...rest } = options;
  const training = train(run, smallData(), { ...rest, signal: stop.signal });
  for await (const { step } of training) if (step === stopAt) stop.abort();
  return parameterBytes(training.adapter?.parameters ?? []);
}

Deno.test("several things trained in one run are saved each by itself, and resumed to the same bits", async () => {
  const folder = await Deno.makeTempDir();
  try {
    using model = smallModel();
    const planned = (out: string): Run =>
      plan(
        model,
        smallOptions({
          method: sparse(SPARSE.options),
          also: [LORA],
          steps: 6,
          saveEvery: 2,
          out: join(folder, out),
        }),
      );
    const whole = planned("whole");
    assert.deepEqual(whole.trained.map(({ kind }) => kind), ["sparse", "lora"]);
    const bytes = await trained(whole);
    await trained(planned("stopped"), { stopAt: 3 });
    assertSame(await trained(planned("stopped"), { resume: true }), bytes);
    for (const out of ["whole", "stopped"]) {
      const loaded = [];
      for (const place of ["adapter", "adapter-2"]) {
        loaded.push(await loadAdapter(model, join(folder, out, place)));
      }
      assert.deepEqual(loaded.map(({ adapter: { kind } }) => kind), ["sparse", "lora"]);
      assertSame(
        loaded.map(({ parameters }) => parameterBytes(parameters)),
        split(bytes, loaded[0]!.parameters.length),
      );
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** The first entries of a map, and the others. */
function split<Key, Value>(map: ReadonlyMap<Key, Value>, count: number): Map<Key, Value>[] {
  return [new Map([...map].slice(0, count)), new Map([...map].slice(count))];
}

for (const name of ["heads/llama_labels", "encoders/bert_labels"]) {
  Deno.test(`two adapters beside the head of ${name}: the first has the head, gradients are those of finite differences, each is saved`, async () => {
    const { dir, batch: labelled } = checkpointFixture(name);
    const k = referenceKernels();
    using model = openCheckpoint(dir, k);
    const also: readonly AdapterSpec[] = [PARALLEL, {
      kind: "tokens",
      options: { trainableTokenIndices: [...new Set(labelled.ids)].slice(0, 2) },
    }];
    const run = plan(model, { method: lora({ rank: 2 }), also, steps: 1, batch: { seqLen: 8 } });
    const params = run.adapterKind.create(k, model, labelled.ids.length);
    params.init(k, 42);
    const before = await forwardLogits(model, labelled, {});
    const attached = attachAdapter(model, params);
    assertSame((await forwardLogits(attached.model, labelled, attached.hooks)).data, before.data);
    const ofHead = headNames(model.config).map((tensor) => `base_model.model.${tensor}`);
    const [first, ...others] = params.parts ?? [];
    for (const tensor of ofHead) {
      assert.ok(first?.parameters.some((parameter) => parameter.name === tensor), tensor);
      assert.ok(others.every(({ parameters }) => parameters.every(({ name }) => name !== tensor)), tensor);
    }
    stir(model, params);
    await assertGradients(model, params, WAYS.slice(0, 4), labelled);
    const folder = await Deno.makeTempDir();
    try {
      await saveAdapter(model, params, join(folder, "adapter"));
      for (const [i, part] of (params.parts ?? []).entries()) {
        const loaded = await loadAdapter(model, join(folder, i === 0 ? "adapter" : `adapter-${i + 1}`));
        assertSame(parameterBytes(loaded.parameters), parameterBytes(part.parameters));
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
