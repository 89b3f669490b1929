// SPDX-License-Identifier: Apache-2.0
/** What adapters say they will need, and what they then make. */
import assert from "node:assert/strict";
import type { Adapter } from "../../../lib/adapters/adapter.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import type { JsonObject } from "../../../lib/core/json.ts";
import type { Model } from "../../../lib/models/model.ts";
import { isTrained, parameterCount, parameterShape } from "../../../lib/optim/parameters.ts";
import { smallModel } from "../train/small_run.ts";

/** Hidden size, feed-forward size, width of the keys, and tokens of the small model. */
const [D, F, KV, V, LAYERS] = [24, 37, 20, 61, 2];
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
    assert.equal(sizes.parameterBytes, 4 * sizes.parameters.reduce((sum, { count }) => sum + count, 0));
    // What the reference holds is twice that, its floats being f64.
    assert.equal(model.kernels.ledger.held.get("parameters"), 2 * sizes.parameterBytes);
    const indexBytes = kind === "sparse" ? LAYERS * 2 * 4 * SPARSE.neurons : 0;
    const held = model.kernels.ledger.held.get("gradients");
    assert.equal(held, 2 * (sizes.gradientBytes - indexBytes) + indexBytes);
    // Pieces are those of the layers' parameters, in their order.
    assert.deepEqual(
      sizes.gradientPieces.map((pieces) => pieces.map((bytes) => 2 * bytes)),
      params.byLayer.map((layer) =>
        layer.map((parameter) => {
          if (parameter.kind === "dense") return parameter.grad?.byteLength ?? 0;
          return parameter.owner.gradients[parameter.part]?.byteLength ?? 0;
        })
      ),
    );
    assert.equal(params.adapter, adapter);
    params.release();
    // Without training there are no gradients; full fine-tuning has them always.
    const asLearnt = adapter.sizes(model, 0);
    const loaded = adapter.create(model.kernels, model, 0);
    assert.equal(asLearnt.gradientBytes, kind === "full" ? sizes.gradientBytes : indexBytes);
    if (kind !== "full") assert.ok(asLearnt.gradientPieces.flat().every((bytes) => bytes === 0));
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
  const { rows, gradientBytes } = resolve(model, "sparse", SPARSE).sizes(model, 4);
  assert.ok(rows);
  // Router and keys are written at the start, the values are not.
  assert.equal(rows.startShare, (12 + 48) / (12 + 48 + 48));
  // Four tokens fire three neurons each.
  assert.equal(rows.slotShare, 12 / 48);
  assert.equal(gradientBytes, LAYERS * (2 * 4 * 48 + 4 * 12 * D + 2 * 4 * 12 * D));
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

Deno.test("LoRA says which weights' inputs it sees, of what rank, and whether it copies them", () => {
  using model = smallModel();
  const options = { rank: 3, targets: ["q", "up"], layersToTransform: 1, rankPattern: { up: 5 } };
  const { linear } = resolve(model, "lora", options).sizes(model, 4).activations;
  assert.deepEqual(["q", "k", "up"].map((site) => linear?.rank(1, site as "q")), [3, 0, 5]);
  assert.equal(linear?.rank(0, "q"), 0);
  assert.equal(linear?.copies, false);
  assert.equal(
    resolve(model, "lora", { ...options, dropout: 0.1 }).sizes(model, 4).activations.linear?.copies,
    true,
  );
});

Deno.test("adapters of the feed-forward half say what a pass of ten tokens takes of the arenas", () => {
  using model = smallModel();
  const of = (kind: string, options: JsonObject) => resolve(model, kind, options).sizes(model, 4).activations;
  const parallel = of("parallel", { neurons: 7 });
  // z; and dz, too.
  assert.deepEqual(
    [parallel.passing?.forward(TOKENS), parallel.passing?.backward(TOKENS)],
    [[7 * TOKENS], [7 * TOKENS, 7 * TOKENS]],
  );
  assert.deepEqual([parallel.kept(TOKENS), parallel.backward(TOKENS)], [[], []]);
  // Logits, experts, tokens of each expert; offsets, then neuron, dot and score of each pair that there can be.
  const selected = [12 * TOKENS, 2 * TOKENS, 12, TOKENS + 1, ...Array(3).fill(3 * TOKENS)];
  const token = of("sparse", SPARSE);
  assert.deepEqual([token.kept(TOKENS), token.passingOnHost, token.keptOnHost], [selected, undefined, true]);
  assert.deepEqual(token.backward(TOKENS), []);
  // Scope union keeps nothing: there is room while a layer passes, for more pairs than tokens choose themselves.
  const union = of("sparse", { ...SPARSE, scope: "union" });
  const passing = union.passingOnHost!(TOKENS);
  assert.deepEqual([union.kept(TOKENS), passing.slice(0, 4)], [[], selected.slice(0, 4)]);
  assert.ok(passing.length === 7 && passing[4]! > 3 * TOKENS && passing[4]! <= 48 * TOKENS, `${passing}`);
  assert.deepEqual(passing.slice(4), Array(3).fill(passing[4]));
});
