// SPDX-License-Identifier: Apache-2.0
/**
 * Every wiring on every family and head, and under every adapter: gradients of finite differences, and with exact streams the same
 * bits whatever backward remembers.
 */
import assert from "node:assert/strict";
import type { AdapterParams } from "../../lib/adapters/adapter.ts";
import { attachAdapter } from "../../lib/adapters/attach.ts";
import { ADAPTER_KINDS, resolveAdapter } from "../../lib/adapters/registry.ts";
import { COUPLING_NAMES } from "../../lib/adapters/wiring/options.ts";
import type { JsonObject } from "../../lib/core/json.ts";
import { forwardLogits } from "../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../lib/models/load.ts";
import type { Model } from "../../lib/models/model.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertSame, assertWithin } from "../compare.ts";
import { assertGradients, gradientsOf, stir, type Way } from "./adapter_gradients.ts";
import { type Case, CASES, smallOptions } from "./family_cases.ts";

const HOST = { kind: "host" } as const;
/** Undone with as much kept as is usual, with less in every second layer, and with the least in all. */
const POLICIES: readonly Omit<Way, "halves" | "placement">[] = [
  { activations: "store" },
  { activations: "recompute" },
  { activations: "reversible" },
  { activations: "reversible", undoing: { anchorEvery: 2 } },
  { activations: "reversible", undoing: { anchorEvery: 1000 } },
];
const SPLIT: readonly Way[] = POLICIES.map((policy) => ({ ...policy, halves: 2, placement: HOST }));
const WHOLE: readonly Way[] = POLICIES.map((policy) => ({ ...policy, halves: 1, placement: HOST }));

/** Coefficients that are no plain model's, few neurons. */
const COUPLED: JsonObject = { lambda: 0.5, beta: 0.25, bottleneck: 2, bottleneckDropout: 0.25 };

function created(model: Model, kind: string, options: JsonObject, tokens: number): AdapterParams {
  const { adapter, problems } = resolveAdapter({ kind, options }, model.config);
  assert.deepEqual(problems, []);
  const params = adapter.create(model.kernels, model, tokens);
  params.init(model.kernels, 42);
  return params;
}

for (const { name, dir, batchFor } of CASES) {
  for (const wiring of COUPLING_NAMES) {
    Deno.test(`${wiring} on ${name}: gradients of finite differences, and the same bits from every policy`, async () => {
      using model = openCheckpoint(dir, referenceKernels());
      const batch = batchFor(model);
      const options = { neurons: 3, ...COUPLED, wiring, combination: "alpha" };
      const tokens = batch.ids.length;
      const floats = created(model, "bottleneck", { ...options, streams: "f32" }, tokens);
      stir(model, floats);
      await assertGradients(model, floats, [...WHOLE, ...SPLIT], batch);

      const exact = created(model, "bottleneck", { ...options, fractionBits: 18 }, tokens);
      stir(model, exact);
      for (const ways of [WHOLE, SPLIT]) {
        const [first, ...others] = ways as readonly [Way, ...Way[]];
        const wanted = await gradientsOf(model, exact, first, batch);
        for (const way of others) {
          const found = await gradientsOf(model, exact, way, batch);
          assert.equal(found.lossSum, wanted.lossSum, JSON.stringify(way));
          assertSame([...found.gradients.values()], [...wanted.gradients.values()]);
        }
      }
    });
  }
}

const SOME = CASES.filter(({ family }) => ["llama", "bert", "bart", "qwen3_moe"].includes(family));
/** Of several layers in each stack: a decoder, an encoder, both, and experts. */
const DEEP = CASES.filter(({ name }) =>
  ["smollm3", "encoders/bert_labels", "encoder_decoders/bart", "qwen3_moe"].includes(name)
);
/** Weights of experts that no token asks for have no gradient. */
const isIdle = (kind: string, family: string): boolean => kind === "full" && family === "qwen3_moe";

/** Gradients of finite differences, and with exact streams the same bits by every way. */
async function assertAdapter(
  { dir, batchFor }: Case,
  kind: string,
  options: JsonObject,
  ways: readonly Way[],
): Promise<void> {
  using model = openCheckpoint(dir, referenceKernels());
  const batch = batchFor(model);
  const all = { ...smallOptions(kind, batch), ...COUPLED, ...options };
  const floats = created(model, kind, { ...all, streams: "f32" }, batch.ids.length);
  stir(model, floats);
  await assertGradients(model, floats, WHOLE, batch);
  const exact = created(model, kind, { ...all, fractionBits: 18 }, batch.ids.length);
  stir(model, exact);
  const [first, ...others] = ways as readonly [Way, ...Way[]];
  const wanted = await gradientsOf(model, exact, first, batch);
  for (const way of others) {
    const found = await gradientsOf(model, exact, way, batch);
    assert.equal(found.lossSum, wanted.lossSum, JSON.stringify(way));
    assertSame([...found.gradients.values()], [...wanted.gradients.values()]);
  }
}

for (const one of SOME) {
  // The bottleneck is tried on every family above.
  for (const kind of ADAPTER_KINDS.filter((kind) => kind !== "bottleneck" && !isIdle(kind, one.family))) {
    for (const wiring of COUPLING_NAMES) {
      Deno.test(`${kind} under ${wiring} on ${one.name}: gradients of finite differences, and the same bits from every policy`, () =>
        assertAdapter(one, kind, { wiring }, WHOLE));
    }
  }
}

/** All is undone, or the lowest layers alone, or from a kept copy to the next. */
const REGIMES: readonly Way[] = [
  ...WHOLE,
  ...[{ steps: 0 }, { steps: 1 }, { anchorEvery: 1 }].map((undoing): Way => ({
    activations: "reversible",
    halves: 1,
    placement: HOST,
    undoing,
  })),
];

for (const one of DEEP) {
  for (const kind of ADAPTER_KINDS.filter((kind) => !isIdle(kind, one.family))) {
    for (const wiring of COUPLING_NAMES) {
      Deno.test(`${kind} under ${wiring} on ${one.name}, its lowest layers plain: the same, whatever is undone`, () =>
        assertAdapter(one, kind, { wiring, frozenLayers: 1 }, REGIMES));
    }
    Deno.test(`${kind} on ${one.name}: layers that are left out have nothing of it, and it is trained as ever`, async () => {
      using model = openCheckpoint(one.dir, referenceKernels());
      const batch = one.batchFor(model);
      const options = { ...smallOptions(kind, batch), frozenLayers: 1 };
      const params = created(model, kind, options, batch.ids.length);
      stir(model, params);
      const names = params.parameters.map(({ name }) => name);
      assert.deepEqual(names.filter((name) => /\.(layers|layer)\.0\./.test(name)), []);
      assert.equal(names.some((name) => /\.(layers|layer)\.1\./.test(name)), kind !== "tokens");
      await assertGradients(model, params, WHOLE.slice(0, 2), batch);
    });
  }
}

/**
 * Of a weight that is stored the other way round, the bias is added before the product: an adapter behind attention, which
 * reads the product by itself, puts the residual after both.
 */
const OTHER_ORDER: ReadonlySet<string> = new Set(["meft3 gpt2_as_stored"]);

for (const { name, dir, batchFor } of CASES) {
  for (const wiring of COUPLING_NAMES) {
    Deno.test(`${wiring} on ${name}: without its small coefficients and before training it is the plain model, to the bit`, async () => {
      using model = openCheckpoint(dir, referenceKernels());
      const batch = batchFor(model);
      const zeros = { meft1: { lambda: 0 }, meft2: { beta: 0 }, meft3: { lambda: 0, beta: 0 } }[wiring];
      const options = { ...zeros, wiring, streams: "f32", combination: "stream" };
      const params = created(model, "bottleneck", options, 0);
      const before = await forwardLogits(model, batch, {});
      const attached = attachAdapter(model, params);
      const after = await forwardLogits(attached.model, batch, attached.hooks);
      if (OTHER_ORDER.has(`${wiring} ${name}`)) assertWithin("logits", after.data, before.data, 1e-14);
      else assertSame(after.data, before.data);
    });
  }
}
