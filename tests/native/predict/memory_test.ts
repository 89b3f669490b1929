// SPDX-License-Identifier: Apache-2.0
/** What memory is predicted and what is then taken, byte for byte. */
import assert from "node:assert/strict";
import { possibleActivations } from "../../../lib/activations/registry.ts";
import {
  full,
  lora,
  meft1,
  meft2,
  meft3,
  type Method,
  parallel,
  sparse,
} from "../../../lib/methods/methods.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { plannedBatches } from "../../../lib/predict/batch_sizes.ts";
import { predictMemory } from "../../../lib/predict/memory.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan } from "../../../lib/train/plan.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { SMALL_SPARSE, smallData, smallOptions } from "../../unit/train/small_run.ts";

const METHODS: readonly Method[] = [
  sparse(SMALL_SPARSE),
  sparse({ ...SMALL_SPARSE, scope: "union" }),
  parallel({ neurons: 40 }),
  lora({ rank: 3, targets: ["o", "down"] }),
  lora({ rank: 2, dropout: 0.1 }),
  full(),
];

/** Ranks that differ by layer and site, and passes that end at every kind of place above the lowest. */
const PLACES: readonly Method[] = [
  lora({ targets: ["q", "k"], layersToTransform: 1, rankPattern: { q: 9 } }),
  lora({ targets: ["o"], layersToTransform: 1, rank: 5 }),
  lora({ targets: ["gate", "v"], layersToTransform: 1, dropout: 0.2, rankPattern: { v: 40 } }),
  lora({ targets: ["down"], layersToTransform: 1, dropout: 0.2, rank: 7 }),
  lora({ targets: ["up"], layersToTransform: 1, rank: 64 }),
  lora({ targets: ["down"], layersToTransform: 0, rank: 50 }),
  lora({ targets: "model.layers.0.self_attn.o_proj", rank: 3 }),
  lora({ targets: String.raw`.*\.(0\.mlp\.up|1\.self_attn\.v)_proj`, rankPattern: { up: 33 }, dropout: 0.5 }),
  lora({
    rankPattern: { "layers\\.0\\..*": 30, down: 17, q: 1 },
    excludeTargets: ["layers.1.mlp.down_proj"],
  }),
];

for (
  const model of [
    "llama3_tied",
    "qwen3_tied",
    "llama_biases",
    "mistral_bf16",
    "qwen2_tied",
    "phi3",
    "olmo2",
    "gemma2",
    "gpt2_as_stored",
    "opt_norm_behind",
  ]
) {
  // The larger one has gradients of more than a MiB, in which activations lie.
  const larger = [
    parallel({ neurons: 16384 }),
    lora({ targets: ["q", "up"], rank: 8192, layersToTransform: 1 }),
  ];
  const places = ["llama3_tied", "qwen3_tied"].includes(model) ? PLACES : []; // others have other places
  for (const method of [...METHODS, ...places, ...(model === "qwen3_tied" ? larger : [])]) {
    for (const activations of possibleActivations(false)) {
      const options = JSON.stringify(method.adapter.options);
      Deno.test(`predictMemory() counts every byte of the arena: ${model}, ${method.name} ${options}, ${activations}`, async () => {
        for (
          const [micro, compute] of [[1, "f32"], [2, "f32"], [4, "f32"], [4, "bf16"], [2, "bf16"]] as const
        ) {
          using k = nativeKernels({ compute });
          using loaded = openCheckpoint(modelFixture(model).dir, k);
          const batch = { size: 4, micro, seqLen: 12 };
          const run = plan(loaded, smallOptions({ method, activations, batch, steps: 5 }));
          const data = smallData();
          const { bytes } = await predictMemory(run, plannedBatches(run, data, data));
          const before = k.ledger.held.get("activations") ?? 0;
          const events = train(run, data, { evalData: data });
          for await (const _ of events);
          const taken = (k.ledger.held.get("activations") ?? 0) - before;
          // Scope union asks again when the first guess of its pairs was too small.
          if (method.adapter.options["scope"] === "union") {
            assert.ok(taken >= (bytes.activations ?? 0) - 4096);
          } else assert.equal(bytes.activations, taken, `micro-batches of ${micro}, ${compute}`);
        }
      });
    }
  }
}

Deno.test("predictMemory() counts every byte of several adapters that are trained together", async () => {
  const classes = ["activations", "parameters", "gradients", "optimizer"] as const;
  for (const activations of possibleActivations(false)) {
    using k = nativeKernels({ compute: "bf16" });
    using model = openCheckpoint(modelFixture("llama3_tied").dir, k);
    const run = plan(
      model,
      smallOptions({
        ...{ method: sparse(SMALL_SPARSE), activations, steps: 3 },
        also: [{ kind: "lora", options: { rank: 3, dropout: 0.1 } }],
      }),
    );
    const data = smallData();
    const { bytes } = await predictMemory(run, plannedBatches(run, data));
    const before = classes.map((name) => k.ledger.held.get(name) ?? 0);
    const taken: number[] = [];
    for await (const _ of train(run, data)) {
      classes.forEach((name, i) => taken[i] = (k.ledger.held.get(name) ?? 0) - (before[i] ?? 0));
    }
    assert.deepEqual(taken, classes.map((name) => bytes[name] ?? 0), activations);
  }
});

Deno.test("predictMemory() counts every byte of coupled streams, stored, recomputed and undone", async () => {
  const methods = [
    meft1({ fractionBits: 14 }),
    meft2({ combination: "alpha", fractionBits: 14 }),
    meft3({ combination: "mean", fractionBits: 14 }),
    meft1({ streams: "f32" }),
    sparse({ ...SMALL_SPARSE, wiring: "meft1", fractionBits: 14 }),
    lora({ rank: 3, wiring: "meft3", fractionBits: 14 }),
  ];
  for (const model of ["llama3_tied", "gpt2_as_stored"]) {
    for (const method of methods) {
      for (const undoing of [{}, { reversibleLayers: 1 }, { anchorEvery: 2 }, { anchorEvery: 1000 }]) {
        for (const activations of possibleActivations(true)) {
          if (activations !== "reversible" && Object.keys(undoing).length > 0) continue;
          using k = nativeKernels({ compute: "bf16" });
          using loaded = openCheckpoint(modelFixture(model).dir, k);
          const run = plan(loaded, smallOptions({ method, activations, ...undoing, steps: 3 }));
          const data = smallData();
          const { bytes } = await predictMemory(run, plannedBatches(run, data, data));
          const before = k.ledger.held.get("activations") ?? 0;
          for await (const _ of train(run, data, { evalData: data }));
          const taken = (k.ledger.held.get("activations") ?? 0) - before;
          assert.equal(
            taken,
            bytes.activations,
            `${model}, ${method.name} ${activations} ${JSON.stringify(undoing)}`,
          );
        }
      }
    }
  }
});
