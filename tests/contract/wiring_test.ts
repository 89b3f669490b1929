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
import { assertSame } from "../compare.ts";
import { assertGradients, gradientsOf, stir, type Way } from "./adapter_gradients.ts";
import { CASES, smallOptions } from "./family_cases.ts";

const HOST = { kind: "host" } as const;
const POLICIES = ["store", "recompute", "reversible"] as const;
const SPLIT: readonly Way[] = POLICIES.map((activations) => ({ activations, halves: 2, placement: HOST }));
const WHOLE: readonly Way[] = POLICIES.map((activations) => ({ activations, halves: 1, placement: HOST }));

/** Coefficients that are no plain model's, few neurons. */
const COUPLED: JsonObject = { lambda: 0.5, beta: 0.25, bottleneck: 2 };

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
/** On every family above; and weights of experts that no token asks for have no gradient. */
const isLeftOut = (kind: string, family: string): boolean =>
  kind === "bottleneck" || (kind === "full" && family === "qwen3_moe");

for (const { name, family, dir, batchFor } of SOME) {
  for (const kind of ADAPTER_KINDS.filter((kind) => !isLeftOut(kind, family))) {
    for (const wiring of COUPLING_NAMES) {
      Deno.test(`${kind} under ${wiring} on ${name}: gradients of finite differences, and the same bits from every policy`, async () => {
        using model = openCheckpoint(dir, referenceKernels());
        const batch = batchFor(model);
        const options = { ...smallOptions(kind, batch), ...COUPLED, wiring };
        const floats = created(model, kind, { ...options, streams: "f32" }, batch.ids.length);
        stir(model, floats);
        await assertGradients(model, floats, WHOLE, batch);
        const exact = created(model, kind, { ...options, fractionBits: 18 }, batch.ids.length);
        stir(model, exact);
        const [first, ...others] = WHOLE as readonly [Way, ...Way[]];
        const wanted = await gradientsOf(model, exact, first, batch);
        for (const way of others) {
          const found = await gradientsOf(model, exact, way, batch);
          assertSame([...found.gradients.values()], [...wanted.gradients.values()]);
        }
      });
    }
  }
}

for (const { name, dir, batchFor } of SOME) {
  for (const wiring of COUPLING_NAMES) {
    Deno.test(`${wiring} on ${name}: without its small coefficients and before training it is the plain model, to the bit`, async () => {
      using model = openCheckpoint(dir, referenceKernels());
      const batch = batchFor(model);
      const zeros = { meft1: { lambda: 0 }, meft2: { beta: 0 }, meft3: { lambda: 0, beta: 0 } }[wiring];
      const options = { ...zeros, wiring, streams: "f32", combination: "stream" };
      const params = created(model, "bottleneck", options, 0);
      const before = await forwardLogits(model, batch, {});
      const attached = attachAdapter(model, params);
      assertSame((await forwardLogits(attached.model, batch, attached.hooks)).data, before.data);
    });
  }
}
