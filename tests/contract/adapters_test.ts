// SPDX-License-Identifier: Apache-2.0
/** The identities that every adapter in the registry passes. */
import { allTensors } from "../../lib/models/parts.ts";
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Adapter, AdapterParams, AttachOptions, RowPlacement } from "../../lib/adapters/adapter.ts";
import { ADAPTER_KINDS, resolveAdapter } from "../../lib/adapters/registry.ts";
import type { JsonObject } from "../../lib/core/json.ts";
import { randomNormal } from "../../lib/core/rng.ts";
import { makeMicroBatch } from "../../lib/data/batches.ts";
import { evaluateLoss, forwardLogits } from "../../lib/models/engine/pass.ts";
import type { Model } from "../../lib/models/model.ts";
import { clearGradients, isTrained, type Parameter } from "../../lib/optim/parameters.ts";
import { loadAdapter, saveAdapter } from "../../lib/train/adapters.ts";
import { train } from "../../lib/train/loop.ts";
import { microBatchGradients } from "../../lib/train/micro_batch.ts";
import { plan } from "../../lib/train/plan.ts";
import { sparse } from "../../lib/methods/methods.ts";
import { assertSame, assertWithin, weightedSum } from "../compare.ts";
import { wholeGradients } from "../unit/train/gradients.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "../unit/train/small_run.ts";

const SPARSE = { neurons: 12, experts: 4, activeExperts: 2, topK: 4 };

/** Options to test each kind with; a kind that is not named here is tested without any. */
const CASES: Readonly<Record<string, readonly JsonObject[]>> = {
  sparse: [
    SPARSE,
    { ...SPARSE, gate: "softmax", scope: "union" },
    { ...SPARSE, gate: "sigmoid", keys: "frozen", topK: 12 },
    { ...SPARSE, gate: "raw", keys: "frozen", scope: "union" },
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

/** Somewhere in training, so that masks that change from step to step are on. */
const PLACE = { seed: 9, step: 3, firstToken: 17 };
/** Of the loss whose gradient is taken. */
const LOSS_SCALE = 0.5;

/** One way to compute the same gradients. */
interface Way {
  readonly activations: "store" | "recompute";
  readonly halves: 1 | 2;
  readonly placement: RowPlacement;
}

const HOST: RowPlacement = { kind: "host" };
const WAYS: readonly Way[] = [
  { activations: "store", halves: 1, placement: HOST },
  { activations: "recompute", halves: 1, placement: HOST },
  { activations: "store", halves: 2, placement: HOST },
  { activations: "recompute", halves: 2, placement: HOST },
  { activations: "store", halves: 1, placement: { kind: "device", cachedRows: 5 } },
  { activations: "store", halves: 2, placement: { kind: "device", cachedRows: 12 } },
];

/** Scope union chooses over a whole micro-batch; only the sparse adapter has rows to place. */
function waysOf(kind: string, { scope }: JsonObject): readonly Way[] {
  return WAYS.filter(({ halves, placement }) =>
    (halves === 1 || scope !== "union") && (placement.kind === "host" || kind === "sparse")
  );
}

/** Loss and gradients in training, from no gradients. */
async function gradientsOf(model: Model, params: AdapterParams, { activations, halves, placement }: Way) {
  clearGradients(model.kernels, params.parameters);
  const attach = (k: typeof model.kernels, token: number) =>
    params.attach(k, { training: { ...PLACE, firstToken: PLACE.firstToken + token }, placement });
  const options = { activations, lossScale: LOSS_SCALE };
  const { lossSum } = await microBatchGradients(model.kernels, batch, halves, attach, options);
  await params.collectGradients?.();
  return { lossSum, gradients: wholeGradients(params.parameters) };
}

async function lossOf(model: Model, params: AdapterParams, options: AttachOptions): Promise<number> {
  const attached = params.attach(model.kernels, options);
  return (await evaluateLoss(attached.model, batch, attached.hooks)).lossSum;
}

/** How the scaled loss of training changes when a parameter moves along a direction. */
async function quotient(
  model: Model,
  params: AdapterParams,
  parameter: Parameter,
  direction: Float64Array,
): Promise<number> {
  const values = read(model, parameter);
  const step = 1e-6; // the choice of neurons is piecewise constant: keep clear of its edges
  const lossAt = async (along: number): Promise<number> => {
    write(model, parameter, values.map((value, i) => value + along * (direction[i] as number)));
    return await lossOf(model, params, { training: PLACE });
  };
  const difference = await lossAt(step) - await lossAt(-step);
  write(model, parameter, values);
  return LOSS_SCALE * difference / (2 * step);
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

    Deno.test(`${title}: gradients in training match finite differences, whichever way they are computed`, async () => {
      using model = smallModel();
      const params = create(kind, options, model);
      stir(model, params);
      const trained = params.parameters.filter(isTrained);
      const loss = await lossOf(model, params, { training: PLACE });
      // One derivative along a direction tells of all elements at once.
      const directions = trained.map((parameter, i) => {
        const direction = new Float64Array(read(model, parameter).length);
        randomNormal(direction, 13, i, 1);
        return direction;
      });
      const quotients: number[] = [];
      for (const [i, parameter] of trained.entries()) {
        quotients.push(await quotient(model, params, parameter, directions[i]!));
      }
      for (const way of waysOf(kind, options)) {
        const title = JSON.stringify(way);
        const { lossSum, gradients } = await gradientsOf(model, params, way);
        assertWithin(`${title}: loss`, [lossSum], [loss], 1e-11);
        assert.deepEqual([...gradients.keys()], trained.map(({ name }) => name));
        const along = trained.map(({ name }, i) => weightedSum(gradients.get(name)!, directions[i]!));
        assertWithin(title, along, quotients, quotients.map((q) => 1e-6 * Math.max(0.1, Math.abs(q))));
      }
      const frozen = params.parameters.length - trained.length;
      assert.equal(frozen, options["keys"] === "frozen" || options["gate"] === "none" ? 2 : 0);
      const isMasked = Number(options["dropout"] ?? 0) > 0;
      assert.equal(await lossOf(model, params, {}) !== loss, isMasked, "masks are for training alone");
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
      const bytes = () => allTensors(model.parts).map(({ data }) => Float64Array.from(data ?? []));
      const before = bytes();
      const method = { ...sparse(), adapter: { kind, options } };
      const run = plan(model, smallOptions({ method, steps: 2 }));
      for await (const _ of train(run, smallData()));
      assertSame(bytes(), before);
    });
  }
}
