// SPDX-License-Identifier: Apache-2.0
/** Every adapter on every family and head: nothing changes at the start, and gradients are those of finite differences. */
import assert from "node:assert/strict";
import { attachAdapter } from "../../lib/adapters/attach.ts";
import { ADAPTER_KINDS, resolveAdapter } from "../../lib/adapters/registry.ts";
import { forwardLogits } from "../../lib/models/engine/pass.ts";
import { FAMILIES } from "../../lib/models/families/registry.ts";
import { openCheckpoint } from "../../lib/models/load.ts";
import { lastStack } from "../../lib/models/parts.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertSame } from "../compare.ts";
import { assertGradients, stir, type Way, WAYS } from "./adapter_gradients.ts";
import { CASES, smallOptions } from "./family_cases.ts";

const ON_THE_HOST: readonly Way[] = WAYS.filter(({ placement }) => placement.kind === "host");

for (const { name, dir, batchFor } of CASES) {
  for (const kind of ADAPTER_KINDS) {
    Deno.test(`${kind} on ${name}: no change at the start, then the gradients of finite differences`, async () => {
      const kernels = referenceKernels();
      using model = openCheckpoint(dir, kernels);
      const batch = batchFor(model);
      const { adapter, problems } = resolveAdapter(
        { kind, options: smallOptions(kind, batch) },
        model.config,
      );
      if (kind === "tokens" && lastStack(model.parts).input.kind !== "tokens") {
        assert.match(problems.join(), /the model is given no tokens/);
        return;
      }
      assert.deepEqual(problems, []);
      const tokens = Math.max(batch.ids.length, batch.source?.ids.length ?? 0);
      const params = adapter.create(kernels, model, tokens);
      params.init(kernels, 42);
      const before = await forwardLogits(model, batch, {});
      const attached = attachAdapter(model, params);
      assertSame((await forwardLogits(attached.model, batch, attached.hooks)).data, before.data);
      stir(model, params);
      // Rows on the device too where layers of two stacks have them.
      const ways = model.parts.stacks.length > 1 ? WAYS : ON_THE_HOST;
      await assertGradients(model, params, ways, batch);
    });
  }
}

Deno.test("there is a case of every family", () => {
  const tried = new Set(CASES.map(({ family }) => family));
  assert.deepEqual([...FAMILIES.keys()].filter((family) => !tried.has(family)), []);
});
