// SPDX-License-Identifier: Apache-2.0
/** The identities that every adapter in the registry passes. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../compare.ts";
import type { Adapter, AdapterParams } from "../../lib/adapters/adapter.ts";
import { ADAPTER_KINDS, resolveAdapter } from "../../lib/adapters/registry.ts";
import type { JsonObject } from "../../lib/core/json.ts";
import { makeMicroBatch } from "../../lib/data/batches.ts";
import { forwardLogits, lossAndGradients } from "../../lib/models/decoder.ts";
import type { Model } from "../../lib/models/model.ts";
import { liveGradient, type Parameter } from "../../lib/optim/parameters.ts";
import { loadAdapter, saveAdapter } from "../../lib/train/adapters.ts";
import { train } from "../../lib/train/loop.ts";
import { plan } from "../../lib/train/plan.ts";
import { sparse } from "../../lib/methods/sparse.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "../unit/train/small_run.ts";

const SPARSE = { neurons: 12, experts: 4, activeExperts: 2, topK: 4 };

/** Options to test each kind with; a kind that is not named here is tested without any. */
const CASES: Readonly<Record<string, readonly JsonObject[]>> = {
  sparse: [
    SPARSE,
    { ...SPARSE, gate: "softmax", scope: "union" },
    { ...SPARSE, gate: "sigmoid", keys: "frozen", topK: 12 },
    { ...SPARSE, gate: "none", experts: 1, activeExperts: 1, routerInit: "random" },
  ],
  parallel: [{ neurons: 7 }],
  lora: [
    { rank: 3 },
    { rank: 1, alpha: 5, useRslora: true, targets: ["q", "v", "down"] },
    { rank: 2, dropout: 0.4, targets: ["o", "gate", "up", "k"] },
    {
      rank: 2,
      targets: ["down", "layers.0.self_attn.k_proj"],
      rankPattern: { down: 5 },
      alphaPattern: { k: 3 },
    },
    { rank: 3, targets: ["o", "up"], layersToTransform: 1, layersPattern: "layers", useRslora: true },
    { rank: 4, targets: ".*\\.(?:q|gate|down)_proj", excludeTargets: ["0.mlp.gate_proj"], dropout: 0.2 },
  ],
};

const batch = makeMicroBatch(smallData(), Int32Array.of(0, 3, 5)).batch;
const TOKENS = 64;

function resolve(kind: string, options: JsonObject, model: Model): Adapter {
  const { adapter, problems } = resolveAdapter({ kind, options }, model.config);
  assert.deepEqual(problems, []);
  return adapter;
}

function create(kind: string, options: JsonObject, model: Model, tokens = TOKENS): AdapterParams {
  const params = resolve(kind, options, model).create(model.kernels, model, tokens);
  params.init(model.kernels, 42);
  return params;
}

/** Moves all parameters away from their start, so that nothing is zero by accident. */
function stir(model: Model, params: AdapterParams): void {
  params.parameters.forEach((parameter, i) => {
    const values = read(model, parameter);
    const noise = model.kernels.floats(values.length);
    model.kernels.randomNormal(noise, 7, i, 0.1);
    write(model, parameter, values.map((value, j) => value + (noise[j] as number)));
  });
}

function read(model: Model, parameter: Parameter): Float64Array {
  if (parameter.kind === "dense") return Float64Array.from(parameter.data);
  const out = new Float64Array(parameter.matrix.rows * parameter.matrix.cols);
  model.kernels.rowMatrixRead(out, parameter.matrix, 0);
  return out;
}

function write(model: Model, parameter: Parameter, values: Float64Array): void {
  if (parameter.kind === "dense") parameter.data.set(values);
  else model.kernels.rowMatrixWrite(parameter.matrix, values, 0);
}

/** The gradient of one element, 0 in a row that was not touched. */
function gradientAt(parameter: Parameter, index: number): number {
  const live = liveGradient(parameter);
  if (parameter.kind === "dense") return live[index] as number;
  const { cols } = parameter.matrix;
  const slot = parameter.owner.gradients.slots[Math.floor(index / cols)] as number;
  return slot < 0 ? 0 : live[slot * cols + index % cols] as number;
}

async function lossOf(model: Model, params: AdapterParams): Promise<number> {
  const attached = params.attach(model.kernels);
  const options = { activations: "store", lossScale: 1 } as const;
  return (await lossAndGradients(attached.model, batch, attached.hooks, options)).lossSum;
}

for (const kind of ADAPTER_KINDS) {
  for (const options of CASES[kind] ?? [{}]) {
    const title = `${kind} adapter ${JSON.stringify(options)}`;

    Deno.test(`${title}: the model's output does not change at the start`, async () => {
      using model = smallModel();
      const before = await forwardLogits(model, batch, {});
      const attached = create(kind, options, model).attach(model.kernels);
      const after = await forwardLogits(attached.model, batch, attached.hooks);
      assertSame(after.data, before.data);
    });

    Deno.test(`${title}: gradients match finite differences`, async () => {
      using model = smallModel();
      const params = create(kind, options, model);
      stir(model, params);
      await lossOf(model, params);
      let checked = 0;
      for (const parameter of params.parameters) {
        if (parameter.kind === "dense" ? parameter.grad === null : !parameter.trained) continue;
        const values = read(model, parameter);
        // A few elements of each parameter, in places without a pattern.
        const stride = Math.max(1, Math.floor(values.length / 5));
        for (let i = stride >> 1; i < values.length; i += stride) {
          const expected = gradientAt(parameter, i);
          const difference = async (step: number): Promise<number> => {
            const moved = values.slice();
            moved[i] = (moved[i] as number) + step;
            write(model, parameter, moved);
            return await lossOf(model, params);
          };
          const step = 1e-5;
          const quotient = (await difference(step) - await difference(-step)) / (2 * step);
          write(model, parameter, values);
          const bound = 1e-6 * Math.max(1, Math.abs(quotient));
          assert.ok(
            Math.abs(expected - quotient) <= bound,
            `${parameter.name}[${i}]: ${expected}, ${quotient}`,
          );
          checked++;
          // Differences added to the gradients: start again from none.
          clear(params);
          await lossOf(model, params);
        }
      }
      assert.ok(checked > 10);
    });

    Deno.test(`${title}: saved and loaded again, every bit is the same`, async () => {
      using model = smallModel();
      const folder = await Deno.makeTempDir();
      try {
        const params = create(kind, options, model);
        stir(model, params);
        await saveAdapter(model, params, folder);
        const loaded = await loadAdapter(model, folder);
        assertSame(parameterBytes(loaded.parameters), parameterBytes(params.parameters));
        assert.deepEqual(loaded.adapter.config, params.adapter.config);
        const files = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
        assert.deepEqual(files, ["adapter_config.json", "adapter_model.safetensors"]);
        const config = JSON.parse(await Deno.readTextFile(join(folder, "adapter_config.json")));
        assert.equal(config.peft_type, kind === "lora" ? "LORA" : "MEFT");
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });

    Deno.test(`${title}: release() gives the ledger back all that create() entered`, () => {
      using model = smallModel();
      const held = (name: "parameters" | "gradients"): number => model.kernels.ledger.held.get(name) ?? 0;
      const before = [held("parameters"), held("gradients")];
      const params = create(kind, options, model);
      assert.ok(held("parameters") > 0);
      params.release();
      assert.deepEqual([held("parameters"), held("gradients")], before);
    });

    Deno.test(`${title}: training leaves the base model's bytes as they were`, async () => {
      using model = smallModel();
      const bytes = () => model.weights.layers.map((layer) => Float64Array.from(layer.up.data ?? []));
      const before = bytes();
      const method = { ...sparse(), adapter: { kind, options } };
      const run = plan(model, smallOptions({ method, steps: 2 }));
      for await (const _ of train(run, smallData()));
      assertSame(bytes(), before);
    });
  }
}

function clear(params: AdapterParams): void {
  for (const parameter of params.parameters) {
    if (parameter.kind === "dense") parameter.grad?.fill(0);
    else {
      parameter.owner.gradients.slots.fill(-1);
      parameter.owner.gradients.rowCount = 0;
    }
  }
}
