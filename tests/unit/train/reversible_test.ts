// SPDX-License-Identifier: Apache-2.0
/** Training under a wiring: the same bits however it is remembered and cut, gone on with, saved, and refused. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import { fractionFor } from "../../../lib/adapters/wiring/coupled.ts";
import {
  bottleneck,
  lora,
  meft1,
  meft2,
  meft3,
  type Method,
  parallel,
  sparse,
} from "../../../lib/methods/methods.ts";
import { NotFiniteError } from "../../../lib/core/errors.ts";
import { decodeStep } from "../../../lib/models/engine/decode.ts";
import { createKvCache } from "../../../lib/models/engine/kv_cache.ts";
import { forwardLogits } from "../../../lib/models/engine/pass.ts";
import type { Model } from "../../../lib/models/model.ts";
import { StreamOverflowError } from "../../../lib/models/wiring/overflow.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { loadAdapter, openAdapter, saveAdapter } from "../../../lib/train/adapters.ts";
import { batches } from "../../../lib/train/batches.ts";
import { checkResume, loadCheckpoint, saveCheckpoint } from "../../../lib/train/checkpoint.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan, type Run, type RunOptions } from "../../../lib/train/plan.ts";
import { settleStreams } from "../../../lib/train/settle_streams.ts";
import { flushState, init, type TrainState } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import type { DenseParameter } from "../../../lib/optim/parameters.ts";
import { assertSame, assertWithin } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { parameterBytes, SMALL_SPARSE, smallData, smallModel, smallOptions } from "./small_run.ts";

const METHODS: readonly Method[] = [
  meft1({ bottleneckDropout: 0.2 }),
  meft2({ combination: "alpha" }),
  meft3({ combination: "mean" }),
  sparse({ ...SMALL_SPARSE, wiring: "meft1" }),
  parallel({ neurons: 5, wiring: "meft3" }),
  lora({ rank: 2, dropout: 0.2, wiring: "meft2" }),
];

/** A run after `steps` steps. */
async function trained(model: Model, steps: number, options: RunOptions): Promise<[Run, TrainState]> {
  const run = await settleStreams(plan(model, smallOptions(options)), smallData());
  let state = init(run);
  for (const step of batches(run, smallData())) {
    if (state.step === steps) break;
    [state] = await trainStep(run, state, step);
  }
  return [run, state];
}

/** Every bit, rows that wait for their steps brought up to date. */
async function flushed(run: Run, state: TrainState): Promise<Map<string, Uint8Array>> {
  await flushState(run, state);
  return bytesOf(state);
}

const bytesOf = ({ params }: TrainState) => parameterBytes(params.parameters);

for (const method of METHODS) {
  const { kind, options: { wiring } } = method.adapter;
  Deno.test(`${kind} under ${wiring}: micro-batches, clipping and every policy, to the bits of stored activations`, async () => {
    using model = smallModel();
    const [stored, whole] = await trained(model, 4, { method, activations: "store" });
    assert.equal(stored.settings.activations, "store");
    const ways: readonly RunOptions[] = [
      {},
      { activations: "recompute" },
      { reversibleLayers: 1 },
      { anchorEvery: 1 },
    ];
    for (const way of ways) {
      const [run, state] = await trained(model, 4, { method, ...way });
      if (way.activations === undefined) assert.equal(run.settings.activations, "reversible");
      assertSame(bytesOf(state), bytesOf(whole));
    }
  });

  Deno.test(`${kind} under ${wiring}: a resumed run ends in the bits of one that was left alone`, () =>
    withFolder(async (folder) => {
      using model = smallModel();
      const [alone, whole] = await trained(model, 5, { method });
      const [run, half] = await trained(model, 3, { method });
      const path = await saveCheckpoint(run, half, "data", folder);
      let state = await loadCheckpoint(run, "data", path);
      for (const step of batches(run, smallData(), state)) {
        if (state.step === 5) break;
        [state] = await trainStep(run, state, step);
      }
      assertSame(await flushed(run, state), await flushed(alone, whole));
    }));

  Deno.test(`${kind} under ${wiring}: a saved adapter brings its wiring along, and decodes as it scores`, () =>
    withFolder(async (folder) => {
      using model = smallModel();
      const { batch } = modelFixture("llama3_tied");
      const [, { params }] = await trained(model, 3, { method });
      await saveAdapter(model, params, join(folder, "adapter"));
      const loaded = await loadAdapter(model, join(folder, "adapter"));
      assert.deepEqual(loaded.adapter.config, params.adapter.config);
      assert.equal(loaded.adapter.config["wiring"], wiring);
      assert.match(loaded.adapter.mergeRefusal ?? "", /another function/);
      assert.equal(loaded.merge, undefined);
      const { hooks } = attachAdapter(model, loaded);
      const own = attachAdapter(model, params).hooks;
      const ids = batch.ids.subarray(0, batch.starts[1]);
      const one = { ...batch, ids, positions: batch.positions.subarray(0, ids.length) };
      const alone = {
        ...one,
        starts: Int32Array.of(0, ids.length),
        targets: { kind: "tokens", ids: new Int32Array(ids.length).fill(-1) } as const,
        targetCount: 0,
      };
      const logits = await forwardLogits(model, alone, hooks);
      assertSame(logits.data, (await forwardLogits(model, alone, own)).data);
      using cache = createKvCache(model, ids.length);
      const last = logits.data.slice(-model.config.vocabSize);
      for (const id of ids) await decodeStep(model, cache, [Int32Array.of(id)], hooks);
      assertWithin("last token", [...cache.logits.data], [...last], 1e-9);
      const start = await openAdapter(join(folder, "adapter"));
      const again = plan(model, smallOptions({ method: undefined as never, start }));
      assert.equal(again.settings.activations, "reversible");
      assert.equal(again.adapterKind.config["fractionBits"], params.adapter.config["fractionBits"]);
    }));
}

Deno.test("what a wiring trains takes one step of each gradient, where layers are clipped by themselves too", async () => {
  using model = smallModel();
  for (const method of METHODS) {
    const clip = 1e9; // clips nothing
    const [, together] = await trained(model, 3, { method, optimizer: adamw({ clip }) });
    const [, byLayer] = await trained(model, 3, { method, optimizer: adamw({ clip, clipBy: "layer" }) });
    assertSame(bytesOf(byLayer), bytesOf(together));
    const { parameters, byLayer: layers } = together.params;
    assert.deepEqual(layers.flat().filter((parameter) => !parameters.includes(parameter)), []);
  }
});

Deno.test("a run whose fractional bits were found goes on from its folder, whoever asks before there is data", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const out = join(folder, "run");
    const data = smallData();
    const planned = (steps: number) =>
      plan(model, smallOptions({ method: meft1(), out, steps, saveEvery: 2 }));
    for await (const _ of train(planned(3), data));
    assert.match(await checkResume(planned(5), join(out, "checkpoints")) ?? "", /step-000003$/);
    const losses: number[] = [];
    for await (const { loss } of train(planned(5), data, { resume: true })) losses.push(loss);
    assert.equal(losses.length, 2);
    const other = plan(model, smallOptions({ method: meft1({ lambda: 0.5 }), out, steps: 5 }));
    await assert.rejects(
      checkResume(other, join(out, "checkpoints")),
      /--lambda is 0.5, the run has 0.0078125/,
    );
  }));

Deno.test("fractional bits are found from the first rows, are recorded, and leave a choice alone", async () => {
  using model = smallModel();
  const data = smallData();
  const found = await settleStreams(plan(model, smallOptions({ method: meft1() })), data);
  assert.equal(found.adapterKind.config["fractionBits"], 20, "its values are small");
  // Of SmolLM2's largest, of next to none, and of what is too large for anything.
  assert.deepEqual([34_006, 1e-9, 2 ** 29].map(fractionFor), [12, 20, 0]);
  const chosen = plan(model, smallOptions({ method: meft1({ fractionBits: 9 }) }));
  assert.equal(await settleStreams(chosen, data), chosen);
  const floats = plan(model, smallOptions({ method: meft1({ streams: "f32", lambda: 0.1 }) }));
  assert.equal(await settleStreams(floats, data), floats);
});

Deno.test("a value without room in its stream ends the step before anything has changed", async () => {
  using model = smallModel();
  const [run, state] = await trained(model, 2, { method: meft1({ fractionBits: 26 }) });
  const before = bytesOf(state);
  const moments = [...state.optim.moments.values()].map(({ m }) => m.slice());
  state.params.parameters.forEach((parameter) => {
    if (parameter.kind === "dense" && parameter.name.endsWith(".up_bias")) parameter.data.fill(50);
  });
  const [step] = [...batches(run, smallData(), state)];
  await assert.rejects(trainStep(run, state, step!), (error: Error) => {
    assert.ok(error instanceof StreamOverflowError, String(error));
    assert.match(error.message, /Layer 0 reaches .* nothing was changed.*--fraction-bits \d+/s);
    return true;
  });
  assert.equal(state.lease.spent, false);
  assertSame([...state.optim.moments.values()].map(({ m }) => m), moments);
  for (const [name, bytes] of before) {
    if (!name.includes("up_bias")) assertSame(bytesOf(state).get(name), bytes);
  }
});

Deno.test("a run whose values outgrow their streams is saved, and goes on with fewer fractional bits", () =>
  withFolder(async (out) => {
    using model = smallModel();
    const data = smallData();
    const planned = (fractionBits: number) =>
      plan(
        model,
        smallOptions({ method: meft1({ fractionBits }), out, steps: 4, optimizer: adamw({ lr: 9 }) }),
      );
    const run = async (fractionBits: number, resume: boolean): Promise<number[]> => {
      const losses: number[] = [];
      for await (const { loss } of train(planned(fractionBits), data, { resume })) losses.push(loss);
      return losses;
    };
    await assert.rejects(run(27, false), (error: Error) => {
      assert.ok(error instanceof StreamOverflowError, String(error));
      assert.match(error.message, /^Layer \d reaches .* --fraction-bits \d+ or fewer.*\. Rows of the step: /);
      assert.doesNotMatch(error.message, /finite/);
      return true;
    });
    assert.match(await checkResume(planned(12), join(out, "checkpoints")) ?? "", /step-00000[123]$/);
    const losses = await run(12, true);
    assert.ok(losses.length > 0 && losses.every(Number.isFinite));
    const { history, identity } = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
    assert.deepEqual(history.map(({ changed }: { changed: unknown }) => changed), [{
      fractionBits: [27, 12],
    }]);
    assert.equal(identity.adapter.fractionBits, 12);
  }));

Deno.test("values that are no numbers are told as such, whatever the streams", async () => {
  using model = smallModel();
  const [run, state] = await trained(model, 1, { method: meft1({ fractionBits: 20 }) });
  state.params.parameters.forEach((parameter) => {
    if (parameter.kind === "dense" && parameter.name.endsWith(".up_bias")) parameter.data.fill(NaN);
  });
  const [step] = [...batches(run, smallData(), state)];
  await assert.rejects(trainStep(run, state, step!), (error: Error) => {
    assert.ok(error instanceof NotFiniteError, String(error));
    assert.match(error.message, /Layer 0 reaches (NaN|Infinity), and int32/);
    return true;
  });
});

Deno.test("what is no wiring for a run is refused by name, and what is none for a decoder is told", async () => {
  using model = smallModel();
  const problems = (options: RunOptions): readonly string[] => {
    try {
      plan(model, smallOptions(options));
      return [];
    } catch (error) {
      return (error as { problems: readonly string[] }).problems;
    }
  };
  assert.deepEqual(problems({ method: meft1({ lambda: 0.1 }) }), [
    "lambda is 0.1, but exact streams are multiplied by powers of two: use 0.0625 or 0.125, or streams f32",
  ]);
  assert.deepEqual(problems({ method: parallel({ neurons: 2 }), activations: "reversible" }), [
    'activations is "reversible", but a layer\'s output does not tell its input here: take a wiring that couples them',
  ]);
  assert.deepEqual(problems({ method: parallel({ neurons: 2, lambda: 0.5 }) }), [
    "lambda says nothing without a wiring that couples layers (meft1, meft2, meft3)",
  ]);
  for (const method of [meft1({ frozenLayers: 2 }), parallel({ neurons: 2, frozenLayers: 2 })]) {
    assert.deepEqual(problems({ method }), [
      "frozenLayers is 2, but the model has 2 layers: leave one to be trained",
    ]);
  }
  const apart = [{ kind: "lora", options: { frozenLayers: 0 } }];
  assert.deepEqual(problems({ method: meft1({ frozenLayers: 1 }), also: apart }), [
    "lora has frozenLayers 0, but bottleneck beside it leaves 1 layers plain: leave it out, or give it at least that",
  ]);
  assert.match(
    problems({ method: lora({ frozenLayers: 1, bias: "all" }) }).join(),
    /bias all means those of the 1 frozen layers too: take lora_only/,
  );
  assert.match(
    problems({ method: lora({ frozenLayers: 1, layersToTransform: [0, 1] }) }).join(),
    /layersToTransform has 0, but of the model's layers 1 to 1 are not frozen/,
  );
  assert.deepEqual(problems({ method: meft1(), also: [{ kind: "lora", options: { wiring: "meft2" } }] }), [
    "layers can be coupled once: give one of the adapters a wiring",
  ]);
  assert.deepEqual(problems({ method: meft1(), activations: "store", anchorEvery: 2 }), [
    'anchorEvery says nothing without activations "reversible"',
  ]);
  // What was chosen is kept: floats that drift as they are undone choose nothing else.
  const drifting = sparse({ ...SMALL_SPARSE, wiring: "meft1", streams: "f32" });
  assert.deepEqual(problems({ method: drifting, activations: "reversible" }), []);
  // A coefficient of 0 cannot be undone, and is stored by itself.
  const { settings } = plan(model, smallOptions({ method: meft1({ lambda: 0, streams: "f32" }) }));
  assert.equal(settings.activations, "recompute");
  const warnings: string[] = [];
  const run = plan(model, smallOptions({ method: meft1({ lambda: 0.125 }), steps: 1 }));
  for await (const _ of train(run, smallData(), { onWarning: (text) => warnings.push(text) }));
  assert.match(
    warnings.join(),
    /lambda is 0.125: with meft1 a decoder then begins with much of what it knew lost/,
  );
});

Deno.test("layers that stay frozen have no adapters, and an adapter beside another is trained under its wiring", async () => {
  using model = smallModel();
  const { adapterKind } = plan(model, smallOptions({ method: meft3({ frozenLayers: 1 }) }));
  const names = adapterKind.sizes(model, 0).parameters.map(({ name }) => name);
  assert.equal(names.length, 8);
  assert.ok(names.every((name) => name.includes("layers.1.")), names.join());
  for (const frozenLayers of [0, 1]) {
    const also = [{ kind: "lora", options: { rank: 2 } }];
    const options: RunOptions = { method: meft1({ frozenLayers }), also };
    const [, stored] = await trained(model, 3, { ...options, activations: "store" });
    const [, undone] = await trained(model, 3, options);
    assertSame(bytesOf(undone), bytesOf(stored));
    assert.equal(stored.params.parameters.some(({ name }) => name.includes("layers.0.")), frozenLayers === 0);
  }
});

Deno.test("dropped neurons of a bottleneck are those of seed, step and token, however a step is cut", async () => {
  using model = smallModel();
  const after = async (method: Method, micro: number) => {
    const [, { params }] = await trained(model, 2, { method, batch: { size: 4, micro, seqLen: 12 } });
    return params.parameters.map((parameter) => (parameter as DenseParameter).data);
  };
  for (const method of [bottleneck({ bottleneckDropout: 0.5 }), meft3({ bottleneckDropout: 0.5 })]) {
    const [whole, alone] = [await after(method, 4), await after(method, 1)];
    for (const [i, data] of whole.entries()) assertWithin(`${i}`, [...data], [...alone[i]!], 1e-7);
    const { bottleneckDropout: _, ...options } = method.adapter.options;
    const without = await after({ ...method, adapter: { ...method.adapter, options } }, 4);
    assert.notDeepEqual([...without[2]!], [...whole[2]!]);
  }
  assert.match(
    await Promise.resolve().then(() =>
      plan(model, smallOptions({ method: lora({ bottleneckDropout: 0.5 }) }))
    ).then(
      () => "",
      (error: Error) => error.message,
    ),
    /bottleneckDropout says nothing without a wiring/,
  );
});

Deno.test("a LoRA above frozen layers is a folder that PEFT reads as such: by layers, or by the names of modules", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    for (
      const [targets, field] of [
        ["all", { layers_to_transform: [1] }],
        [".*[qv]_proj", {
          target_modules: ["model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"],
        }],
      ] as const
    ) {
      const method = lora({ rank: 2, targets, frozenLayers: 1, modulesToSave: ["input_layernorm"] });
      const [, { params }] = await trained(model, 2, { method });
      const at = join(folder, Object.keys(field).join());
      await saveAdapter(model, params, at);
      const config = JSON.parse(await Deno.readTextFile(join(at, "adapter_config.json")));
      for (const [name, value] of Object.entries(field)) assert.deepEqual(config[name], value);
      assert.deepEqual(config["modules_to_save"], ["model.layers.1.input_layernorm"]);
      const loaded = await loadAdapter(model, at);
      assertSame(parameterBytes(loaded.parameters), parameterBytes(params.parameters));
    }
  }));

Deno.test("adapters above frozen layers go on from their checkpoint, with a wiring and without", () =>
  withFolder(async (folder) => {
    using model = smallModel();
    const methods = [
      sparse({ ...SMALL_SPARSE, frozenLayers: 1 }),
      lora({ rank: 2, wiring: "meft3", frozenLayers: 1 }),
    ];
    for (const method of methods) {
      const [alone, whole] = await trained(model, 4, { method });
      const [run, half] = await trained(model, 2, { method });
      const path = await saveCheckpoint(run, half, "data", join(folder, method.name));
      let state = await loadCheckpoint(run, "data", path);
      for (const step of batches(run, smallData(), state)) {
        if (state.step === 4) break;
        [state] = await trainStep(run, state, step);
      }
      assertSame(await flushed(run, state), await flushed(alone, whole));
      await saveAdapter(model, state.params, join(folder, method.name, "adapter"));
      const loaded = await loadAdapter(model, join(folder, method.name, "adapter"));
      assert.deepEqual(loaded.adapter.config, whole.params.adapter.config);
    }
  }));
