// SPDX-License-Identifier: Apache-2.0
/** A checkpoint of every family and head, with a batch, for contracts that all of them keep. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { JsonObject } from "../../lib/core/json.ts";
import type { Batch } from "../../lib/data/batch.ts";
import type { Model } from "../../lib/models/model.ts";
import { lastStack } from "../../lib/models/parts.ts";
import {
  checkpointFixture,
  ENCODER_DECODER_FIXTURES,
  ENCODER_FIXTURES,
  HEAD_FIXTURES,
} from "../fixtures/checkpoint_fixture.ts";
import { MODEL_FIXTURES, modelFixture } from "../fixtures/model_fixture.ts";
import { VISION_FIXTURES, visionFixture } from "../fixtures/vision_fixture.ts";

const SMALL_OPTIONS: Readonly<Record<string, (batch: Batch) => JsonObject>> = {
  sparse: () => ({ neurons: 12, experts: 4, activeExperts: 2, topK: 4 }),
  parallel: () => ({ neurons: 5 }),
  lora: () => ({ rank: 2, dropout: 0.1 }),
  tokens: ({ ids }) => ({ trainableTokenIndices: [...new Set(ids)].slice(0, 2) }),
  bottleneck: () => ({ neurons: 3, bottleneckDropout: 0.25 }),
};

/** Options of a kind of adapter, of a size that fits the smallest models. */
export function smallOptions(kind: string, batch: Batch): JsonObject {
  return SMALL_OPTIONS[kind]?.(batch) ?? {};
}

/** A checkpoint, and what it is given. */
export interface Case {
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
export const CASES: readonly Case[] = [
  ...new Map(DECODERS.map((own) => [own.family, own])).values(),
  ...[...HEAD_FIXTURES, ...ENCODER_FIXTURES, ...ENCODER_DECODER_FIXTURES].map((name) => {
    const { dir, batch } = checkpointFixture(name);
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
