// SPDX-License-Identifier: Apache-2.0
/** Encoders with each of their heads against transformers. */
import assert from "node:assert/strict";
import { createKvCache } from "../../../../lib/models/engine/kv_cache.ts";
import type { HeadConfig } from "../../../../lib/models/heads/head_config.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { modelSites } from "../../../../lib/models/modules.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import { checkpointFixture, ENCODER_FIXTURES } from "../../../fixtures/checkpoint_fixture.ts";
import { testPasses } from "../pass_tests.ts";

const LABELS: HeadConfig = { kind: "classification", gives: "classes", labels: ["no", "yes"] };

for (const name of ENCODER_FIXTURES) testPasses(name);

Deno.test("a head on sequences takes what the checkpoint of a masked model has, and starts the rest fresh", () => {
  const open = (name: string) =>
    openCheckpoint(checkpointFixture(`encoders/${name}`).dir, referenceKernels(), { head: LABELS });
  using bert = open("bert_masked");
  assert.deepEqual([...bert.fresh], ["classifier.weight", "classifier.bias"]);
  using roberta = open("roberta_masked");
  assert.deepEqual([...roberta.fresh], [
    "classifier.out_proj.weight",
    "classifier.out_proj.bias",
    "classifier.dense.weight",
    "classifier.dense.bias",
  ]);
  assert.match(roberta.warnings.join("\n"), /passed over.*"lm_head/);
});

Deno.test("an encoder's sites are PEFT's, and it has nothing to decode", () => {
  using model = openCheckpoint(checkpointFixture("encoders/bert_masked").dir, referenceKernels());
  const { words, peftDefault } = modelSites(model.config);
  assert.deepEqual([...words], [
    ["q", "query"],
    ["k", "key"],
    ["v", "value"],
    ["o", "attention.output.dense"],
    ["up", "intermediate.dense"],
    ["down", "output.dense"],
  ]);
  assert.deepEqual(peftDefault, ["q", "v"]);
  assert.throws(() => createKvCache(model, 4), /masked-lm head: it predicts no tokens/);
});

Deno.test("positions begin behind that of padding where the family has it so", () => {
  using model = openCheckpoint(checkpointFixture("encoders/roberta_masked").dir, referenceKernels());
  assert.equal(model.config.maxPositionEmbeddings, 18);
});
