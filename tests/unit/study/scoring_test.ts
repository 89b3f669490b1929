// SPDX-License-Identifier: Apache-2.0
/** Which scores a study takes where none are asked for. */
import assert from "node:assert/strict";
import { numberedHead } from "../../../lib/models/heads/head_config.ts";
import { metricsOf, resolveScoring } from "../../../lib/study/scoring.ts";
import { causalLm } from "../../../lib/tasks/causal_lm.ts";
import { classification } from "../../../lib/tasks/classification.ts";

const NONE_ASKED = resolveScoring({});

Deno.test("metricsOf() takes the scores that say something of the head, others by name alone", () => {
  const [two, ten] = [numberedHead(2), numberedHead(10)];
  const usual = ["accuracy", "f1-macro", "matthews"];
  assert.deepEqual(metricsOf(NONE_ASKED, classification, ten), usual);
  assert.deepEqual([...metricsOf(NONE_ASKED, classification, two)].sort(), [
    "accuracy",
    "f1-binary",
    ...usual.slice(1),
  ]);
  const asked = resolveScoring({ metrics: ["f1-binary"] });
  assert.deepEqual(metricsOf(asked, classification, ten), ["f1-binary"]);
  assert.deepEqual(metricsOf(NONE_ASKED, causalLm, { kind: "lm" }), ["exact-match"]);
  assert.throws(
    () => metricsOf(resolveScoring({ metrics: ["pearson"] }), classification, ten),
    /pearson is no score/,
  );
});
