// SPDX-License-Identifier: Apache-2.0
/** Every adapter on every family and head: nothing changes at the start, and gradients are those of finite differences. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { attachAdapter } from "../../lib/adapters/attach.ts";
import { ADAPTER_KINDS, resolveAdapter } from "../../lib/adapters/registry.ts";
import type { JsonObject } from "../../lib/core/json.ts";
import type { Batch } from "../../lib/data/batch.ts";
import { forwardLogits } from "../../lib/models/engine/pass.ts";
import { FAMILIES } from "../../lib/models/families/registry.ts";
import { openCheckpoint } from "../../lib/models/load.ts";
import type { Model } from "../../lib/models/model.ts";
import { lastStack } from "../../lib/models/parts.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertSame } from "../compare.ts";
import {
  ENCODER_DECODER_FIXTURES,
  ENCODER_FIXTURES,
  HEAD_FIXTURES,
  headFixture,
} from "../fixtures/head_fixture.ts";
import { MODEL_FIXTURES, modelFixture } from "../fixtures/model_fixture.ts";
import { VISION_FIXTURES, visionFixture } from "../fixtures/vision_fixture.ts";
import { assertGradients, stir, type Way, WAYS } from "./adapter_gradients.ts";

const OPTIONS: Readonly<Record<string, JsonObject | ((batch: Batch) => JsonObject)>> = {
  sparse: { neurons: 12, experts: 4, activeExperts: 2, topK: 4 },
  parallel: { neurons: 5 },
  lora: { rank: 2, dropout: 0.1 },
  tokens: ({ ids }) => ({ trainableTokenIndices: [...new Set(ids)].slice(0, 2) }),
};

const ON_THE_HOST: readonly Way[] = WAYS.filter(({ placement }) => placement.kind === "host");

/** A checkpoint, and what it is given. */
interface Case {
  readonly name: string;
  readonly family: string;
  readonly dir: string;
  batchFor(model: Model): Batch;
}

function fixture(name: string, dir: string, batchFor: Case["batchFor"]): Case {
  const { model_type: family } = JSON.parse(Deno.readTextFileSync(join(dir, "config.json")));
  return { name, family, dir, batchFor };
}

const DECODERS = MODEL_FIXTURES.map((name) => {
  const { dir, batch } = modelFixture(name);
  return fixture(name, dir, () => batch);
});

/** One decoder of a family, and everything else there is. */
const CASES: readonly Case[] = [
  ...new Map(DECODERS.map((own) => [own.family, own])).values(),
  ...[...HEAD_FIXTURES, ...ENCODER_FIXTURES, ...ENCODER_DECODER_FIXTURES].map((name) => {
    const { dir, batch } = headFixture(name);
    return fixture(name, dir, () => batch);
  }),
  ...VISION_FIXTURES.map((name) => {
    const { dir, batch } = visionFixture(name);
    return fixture(name, dir, (model) => {
      const { input } = lastStack(model.parts);
      assert(input.kind === "patches");
      return batch(input.shape, input.tokens.length);
    });
  }),
];

for (const { name, dir, batchFor } of CASES) {
  for (const kind of ADAPTER_KINDS) {
    Deno.test(`${kind} on ${name}: no change at the start, then the gradients of finite differences`, async () => {
      const kernels = referenceKernels();
      using model = openCheckpoint(dir, kernels);
      const batch = batchFor(model);
      const options = OPTIONS[kind] ?? {};
      const { adapter, problems } = resolveAdapter({
        kind,
        options: typeof options === "function" ? options(batch) : options,
      }, model.config);
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
      await assertGradients(model, params, ON_THE_HOST, batch);
    });
  }
}

Deno.test("there is a case of every family", () => {
  const tried = new Set(CASES.map(({ family }) => family));
  assert.deepEqual([...FAMILIES.keys()].filter((family) => !tried.has(family)), []);
});
