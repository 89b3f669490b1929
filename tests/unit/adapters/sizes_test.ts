// SPDX-License-Identifier: Apache-2.0
/** What adapters say they train, and what they then make. */
import assert from "node:assert/strict";
import type { Adapter } from "../../../lib/adapters/adapter.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import type { JsonObject } from "../../../lib/core/json.ts";
import type { Model } from "../../../lib/models/model.ts";
import { isTrained, parameterCount, parameterShape } from "../../../lib/optim/parameters.ts";
import { pairRoom } from "../../../lib/ops/sparse_pairs.ts";
import { countedRun } from "../../../lib/predict/counted_passes.ts";
import { smallModel } from "../train/small_run.ts";

/** Hidden size, feed-forward size, width of the keys, and tokens of the small model. */
const [D, F, KV, V] = [24, 37, 20, 61];
const TOKENS = 10;

const SPARSE = { neurons: 48, experts: 12, activeExperts: 2, topK: 3 };
const CASES: readonly (readonly [kind: string, options: JsonObject])[] = [
  ["sparse", SPARSE],
  ["sparse", { ...SPARSE, keys: "frozen" }],
  ["sparse", { ...SPARSE, gate: "none", scope: "union" }],
  ["parallel", { neurons: 7 }],
  ["lora", { rank: 3 }],
  ["lora", { rank: 2, targets: ["q", "down"], rankPattern: { down: 5 }, layersToTransform: 1 }],
  ["full", {}],
];

function resolve(model: Model, kind: string, options: JsonObject): Adapter {
  const { adapter, problems } = resolveAdapter({ kind, options }, model.config);
  assert.deepEqual(problems, []);
  return adapter;
}

for (const [kind, options] of CASES) {
  Deno.test(`${kind} adapter ${JSON.stringify(options)}: sizes() are those of what create() makes`, () => {
    using model = smallModel();
    const adapter = resolve(model, kind, options);
    const sizes = adapter.sizes(model, TOKENS);
    const params = adapter.create(model.kernels, model, TOKENS);
    assert.deepEqual(
      sizes.parameters,
      params.parameters.map((parameter) => ({
        name: parameter.name,
        shape: parameterShape(parameter),
        count: parameterCount(parameter),
        rows: parameter.kind === "rows" ? parameter.matrix.rows : null,
        trained: isTrained(parameter),
      })),
    );
    assert.equal(new Set(sizes.parameters.map(({ name }) => name)).size, sizes.parameters.length);
    assert.equal(params.adapter, adapter);
    params.release();
    const loaded = adapter.create(model.kernels, model, 0);
    assert.equal(loaded.parameters.length, sizes.parameters.length);
  });
}

Deno.test("adapters have the parameters that their definitions say", () => {
  using model = smallModel();
  const shapes = (kind: string, options: JsonObject) =>
    resolve(model, kind, options).sizes(model, 0).parameters.map(({ name, shape }) => `${name} ${shape}`);
  const mlp = (layer: number) => `base_model.model.model.layers.${layer}.mlp.meft`;
  assert.deepEqual(
    shapes("sparse", SPARSE),
    [0, 1].flatMap((l) => [`${mlp(l)}.router 12,${D}`, `${mlp(l)}.keys 48,${D}`, `${mlp(l)}.values 48,${D}`]),
  );
  assert.deepEqual(
    shapes("parallel", { neurons: 7 }),
    [0, 1].flatMap((l) => [`${mlp(l)}.keys 7,${D}`, `${mlp(l)}.values 7,${D}`]),
  );
  const factors = (site: string, rank: number, inputs: number, outputs: number) => [
    `base_model.model.model.layers.1.${site}.lora_A.weight ${rank},${inputs}`,
    `base_model.model.model.layers.1.${site}.lora_B.weight ${outputs},${rank}`,
  ];
  assert.deepEqual(
    shapes("lora", { rank: 1, targets: ["k", "down"], layersToTransform: 1, rankPattern: { down: 5 } }),
    [
      ...factors("self_attn.k_proj", 1, D, KV),
      ...factors("mlp.down_proj", 5, F, D),
    ],
  );
  const full = shapes("full", {});
  assert.ok(full.includes(`model.embed_tokens.weight ${V},${D}`), full.join("\n"));
  assert.ok(full.includes(`model.layers.1.input_layernorm.weight ${D}`));
  assert.ok(full.includes(`model.layers.0.self_attn.v_proj.weight ${KV},${D}`));
});

Deno.test("the sparse adapter says how many of its rows a step and a run reach", () => {
  using model = smallModel();
  const { rows } = resolve(model, "sparse", SPARSE).sizes(model, 4);
  assert.ok(rows);
  // Router and keys are written at the start, the values are not.
  assert.equal(rows.startShare, (12 + 48) / (12 + 48 + 48));
  // Four tokens fire three neurons each.
  assert.equal(rows.slotShare, 12 / 48);
  assert.equal(rows.touchedShare(0), 0);
  // As many choices as rows leave 1/e of them out, and rows are whole.
  const share = rows.touchedShare(16);
  assert.ok(share >= 1 - Math.exp(-1) && share < 1 - Math.exp(-1) + 1 / 48, `${share}`);
  // More tokens than rows: no more than all.
  assert.equal(resolve(model, "sparse", SPARSE).sizes(model, 1000).rows?.slotShare, 1);
  // An expert holds fewer neurons than a token may fire.
  const narrow = resolve(model, "sparse", { ...SPARSE, activeExperts: 1, topK: 48 }).sizes(model, 2);
  assert.equal(narrow.rows?.slotShare, 2 * 4 / 48);
  for (const [kind, options] of [["parallel", { neurons: 7 }], ["lora", {}], ["full", {}]] as const) {
    assert.equal(resolve(model, kind, options).sizes(model, 4).rows, null);
  }
});

Deno.test("the sparse adapter keeps gradients of trained rows alone, with room for what a step reaches", () => {
  using model = smallModel();
  const gradientsOf = (options: JsonObject) => {
    const [, keys] = resolve(model, "sparse", { ...SPARSE, ...options })
      .create(model.kernels, model, 4).parameters;
    assert.ok(keys?.kind === "rows");
    return keys.gradient;
  };
  const trained = gradientsOf({});
  assert.equal(trained?.rows.length, 12 * D);
  assert.deepEqual([trained?.touched.slots.length, trained?.touched.rows.length], [48, 48]);
  assert.equal(gradientsOf({ keys: "frozen" }), null);
});

for (const scope of ["token", "union"]) {
  Deno.test(`the sparse adapter of scope ${scope} keeps ${scope === "token" ? "what fired" : "what it fired among"} on the host`, async () => {
    using model = smallModel();
    const adapter = resolve(model, "sparse", { ...SPARSE, scope });
    const counted = countedRun(model, adapter, { activations: "store", tokensPerStep: TOKENS });
    const used: number[] = [];
    const { hostArena } = counted.kernels;
    const release = hostArena.release.bind(hostArena);
    hostArena.release = (mark) => {
      used.push(hostArena.usedBytes);
      release(mark);
    };
    await counted.train({ tokens: TOKENS, targets: TOKENS });
    const lines = (counts: readonly number[], bytes: number) =>
      counts.reduce((sum, count) => sum + Math.ceil(count * bytes / 64) * 64, 0);
    const pairs = (room: number) => lines([TOKENS + 1, room], 4) + lines([room, room], 8);
    // Logits in floats of the reference, experts, tokens of each expert; then the pairs there can be.
    const routing = lines([12 * TOKENS], 8) + lines([2 * TOKENS, 12], 4);
    const most = Math.max(...used);
    if (scope === "token") assert.equal(most, 2 * (routing + pairs(3 * TOKENS)));
    else {
      const room = pairRoom({ ...SPARSE, gate: "raw", scope: "union", tokens: TOKENS });
      assert.ok(room > 3 * TOKENS && room <= 48 * TOKENS, `${room}`);
      // Experts, tokens of each, and the neurons that fired, of both layers; the rest of one layer at a time.
      const choice = lines([2 * TOKENS, 12, Math.min(48, 3 * TOKENS)], 4);
      assert.equal(most, 2 * choice + routing + pairs(room));
    }
  });
}
