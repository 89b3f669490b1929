// SPDX-License-Identifier: Apache-2.0
/** The identities that every adapter in the registry passes. */
import { attachAdapter } from "../../lib/adapters/attach.ts";
import { allTensors } from "../../lib/models/part_tensors.ts";
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Adapter, AdapterParams } from "../../lib/adapters/adapter.ts";
import { ADAPTER_KINDS, resolveAdapter } from "../../lib/adapters/registry.ts";
import type { JsonObject } from "../../lib/core/json.ts";
import { forwardLogits } from "../../lib/models/engine/pass.ts";
import type { Model } from "../../lib/models/model.ts";
import { isTrained } from "../../lib/optim/parameters.ts";
import { loadAdapter, saveAdapter } from "../../lib/train/adapters.ts";
import { train } from "../../lib/train/loop.ts";
import { plan } from "../../lib/train/plan.ts";
import { sparse } from "../../lib/methods/methods.ts";
import { assertSame } from "../compare.ts";
import { assertGradients, batch, lossOf, stir, type Way, WAYS } from "./adapter_gradients.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "../unit/train/small_run.ts";

/** Of tokens that losses are of. */
const BATCH_IDS = [...new Set(batch.ids)];

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
  bottleneck: [{ neurons: 5 }],
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
    { rank: 2, targets: ["q"], trainableTokenIndices: [60, 7, 0], modulesToSave: ["model.norm"] },
    {
      rank: 2,
      targets: ["v"],
      trainableTokenIndices: { embed_tokens: BATCH_IDS.slice(1, 2), lm_head: [3, 4] },
    },
    { rank: 2, targets: ["v"], modulesToSave: ["embed_tokens"] },
    { rank: 2, targets: ["v"], modulesToSave: ["lm_head"], ensureWeightTying: true },
  ],
  tokens: [
    { trainableTokenIndices: [3, 59] },
    { trainableTokenIndices: { lm_head: 8 } },
    { trainableTokenIndices: 12, modulesToSave: ["1.mlp.down_proj"] },
  ],
};

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

/** What PEFT knows is saved as it has it: of token rows alone it knows no modules beside them. */
function peftType(kind: string, { modulesToSave }: JsonObject): string {
  if (kind === "lora") return "LORA";
  return kind === "tokens" && modulesToSave === undefined ? "TRAINABLE_TOKENS" : "MEFT";
}

/** Scope union chooses over a whole micro-batch; only the sparse adapter has rows to place. */
function waysOf(kind: string, { scope }: JsonObject): readonly Way[] {
  return WAYS.filter(({ halves, placement }) =>
    (halves === 1 || scope !== "union") && (placement.kind === "host" || kind === "sparse")
  );
}

for (const kind of ADAPTER_KINDS) {
  for (const options of CASES[kind] ?? [{}]) {
    const title = `${kind} adapter ${JSON.stringify(options)}`;

    Deno.test(`${title}: the model's output does not change at the start`, async () => {
      using model = smallModel();
      const before = await forwardLogits(model, batch, {});
      const attached = attachAdapter(model, create(kind, options, model));
      const after = await forwardLogits(attached.model, batch, attached.hooks);
      assertSame(after.data, before.data);
    });

    Deno.test(`${title}: gradients in training match finite differences, whichever way they are computed`, async () => {
      using model = smallModel();
      const params = create(kind, options, model);
      stir(model, params);
      const loss = await assertGradients(model, params, waysOf(kind, options));
      const trained = params.parameters.filter(isTrained);
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
        assert.equal(config.peft_type, peftType(kind, options));
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
