// SPDX-License-Identifier: Apache-2.0
/** What is told of a model by its parts alone, and models whose parts are put together otherwise. */
import { hooksOf } from "../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import type { ActivationPolicyName } from "../../../lib/activations/registry.ts";
import { evaluateLoss, lossAndGradients } from "../../../lib/models/engine/pass.ts";
import { lowestTrained, outputDepth } from "../../../lib/models/engine/stacks.ts";
import { buildParts } from "../../../lib/models/families/registry.ts";
import type { BranchHook } from "../../../lib/models/hooks.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Model } from "../../../lib/models/model.ts";
import { allTensors, linearsOf, tensorsOf } from "../../../lib/models/part_tensors.ts";
import { keyShapes, layersOf, partOf } from "../../../lib/models/parts.ts";
import { basePrefix, embeddingName, headNames, moduleOf } from "../../../lib/models/tensor_names.ts";
import { trainableModel } from "../../fixtures/trainable_model.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { assertWithin } from "../../compare.ts";
import { MODEL_FIXTURES, modelFixture } from "../../fixtures/model_fixture.ts";
import { probeHook } from "../../fixtures/probe_hook.ts";

for (const name of MODEL_FIXTURES) {
  Deno.test(`tensors of ${name} are taken once each, and listed the same of names and of weights`, () => {
    using model = openCheckpoint(modelFixture(name).dir, referenceKernels());
    const taken: string[] = [];
    const parts = buildParts(model.config, (tensor) => {
      taken.push(tensor);
      return tensor;
    });
    const listed = allTensors(parts);
    assert.deepEqual(listed.toSorted(), taken.toSorted());
    assert.deepEqual(allTensors(model.parts).map((weight) => weight.name), listed);
    const perLayer = layersOf(parts).flatMap((layer) => layer.flatMap((part) => tensorsOf(part)));
    assert.deepEqual(perLayer, listed.filter((tensor) => /\.(layers|h)\.\d/.test(tensor)));
    for (const part of layersOf(parts).flat()) {
      for (const { weight } of linearsOf(part)) assert.ok(moduleOf(weight).startsWith(`${part.module}.`));
    }
    assert.deepEqual(
      [basePrefix(model.config), embeddingName(model.config), ...headNames(model.config)],
      [`${listed[0]?.split(".")[0]}.`, listed[0], "lm_head.weight"],
    );
  });
}

Deno.test("what is trained is saved in an order that stays: norm of the input, matrices, biases, norms within", () => {
  const within = (name: string, kind: "attention" | "ffn") => {
    using model = openCheckpoint(modelFixture(name).dir, referenceKernels());
    return tensorsOf(partOf(layersOf(model.parts)[0]!, kind)!).map((weight) =>
      weight.name.replace(/^model.layers.0.(self_attn.|mlp.)?/, "")
    );
  };
  const sites = ["q_proj", "k_proj", "v_proj", "o_proj"];
  assert.deepEqual(within("qwen3_tied", "attention"), [
    "input_layernorm.weight",
    ...sites.map((site) => `${site}.weight`),
    ...sites.map((site) => `${site}.bias`),
    ...["q_norm.weight", "k_norm.weight"],
  ]);
  assert.deepEqual(within("llama_biases", "ffn"), [
    "post_attention_layernorm.weight",
    ...["weight", "bias"].flatMap((kind) => ["gate", "up", "down"].map((site) => `${site}_proj.${kind}`)),
  ]);
});

Deno.test("lowestTrained() finds a hook or a trained weight at any depth", () => {
  using base = openCheckpoint(modelFixture("qwen2_tied").dir, referenceKernels());
  const depthOf = (name: string): number => {
    using model = trainableModel(base, (tensor) => tensor === name);
    return lowestTrained(model.parts, {})[0] as number;
  };
  const last = layersOf(base.parts).length - 1;
  assert.deepEqual(lowestTrained(base.parts, {}), [Infinity]);
  assert.equal(depthOf("model.embed_tokens.weight"), 0);
  assert.equal(depthOf(`model.layers.${last}.self_attn.q_proj.bias`), 1 + 2 * last);
  assert.equal(depthOf(`model.layers.${last}.mlp.down_proj.weight`), 2 + 2 * last);
  assert.equal(depthOf("model.norm.weight"), outputDepth(base.parts.stacks[0], {}));
  assert.equal(outputDepth(base.parts.stacks[0], {}), 3 + 2 * last);
  assert.deepEqual(lowestTrained(base.parts, hooksOf({ ffn: probeHook(1, false) })), [2]);
  assert.deepEqual(lowestTrained(base.parts, hooksOf({ attention: probeHook(1, false) })), [1]);
});

/** The feed-forward first, and a layer of nothing else. */
function reordered(model: Model): Model {
  const [stack] = model.parts.stacks;
  const layers = stack.layers.map((layer) => layer.toReversed());
  const alone = (layers[0] ?? []).slice(0, 1);
  return { ...model, parts: { ...model.parts, stacks: [{ ...stack, layers: [...layers, alone] }] } };
}

Deno.test("sublayers compute in the order of the parts, with the gradients of finite differences", async () => {
  const { dir, batch } = modelFixture("qwen3_tied");
  using base = openCheckpoint(dir, referenceKernels());
  const model = reordered(base);
  assert.deepEqual(keyShapes(model.parts, 3).at(-1), [3, 0, 0]);
  const hooks = () => ({ ffn: probeHook(0.3, false), attention: probeHook(-0.2, true) });
  const gradients = async (activations: ActivationPolicyName): Promise<number[]> => {
    const { ffn, attention } = hooks();
    await lossAndGradients(model, batch, hooksOf({ ffn, attention }), { activations, lossScale: 1 });
    return [ffn.dscale, attention.dscale];
  };
  const wanted = await gradients("store");
  assert.deepEqual(await gradients("recompute"), wanted);
  const e = 1e-5;
  for (const [i, site] of (["ffn", "attention"] as const).entries()) {
    const lossAt = async (change: number): Promise<number> => {
      const probes = hooks();
      probes[site].scale += change;
      return (await evaluateLoss(model, batch, hooksOf(probes))).lossSum;
    };
    const difference = (await lossAt(e) - await lossAt(-e)) / (2 * e);
    assertWithin(site, [wanted[i] as number], [difference], 1e-6 * Math.max(1, Math.abs(difference)));
  }
});

Deno.test("recomputing does not make the output of a layer again, whatever its last sublayer is", async () => {
  const { dir, batch } = modelFixture("qwen2_tied");
  using base = openCheckpoint(dir, referenceKernels());
  for (const [model, site] of [[base, "ffn"], [reordered(base), "attention"]] as const) {
    const probe = probeHook(0.3, false);
    let calls = 0;
    const hook: BranchHook<number> = {
      ...probe,
      residualsOnHost: true,
      forward: (layer, h, y) => {
        calls++;
        return probe.forward(layer, h, y);
      },
    };
    await lossAndGradients(model, batch, hooksOf({ [site]: hook }), {
      activations: "recompute",
      lossScale: 1,
    });
    const layers = layersOf(model.parts).filter((layer) => layer.some(({ kind }) => kind === site));
    assert.equal(calls, layers.length, site);
  }
});
