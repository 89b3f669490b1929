// SPDX-License-Identifier: Apache-2.0
/** Scores against scikit-learn, scipy, sacreBLEU and rouge-score. */
import assert from "node:assert/strict";
import { bleu } from "../../../lib/tasks/metrics/bleu.ts";
import { chrf } from "../../../lib/tasks/metrics/chrf.ts";
import { accuracy, f1Binary, f1Macro, matthews } from "../../../lib/tasks/metrics/classes.ts";
import { corpusScore } from "../../../lib/tasks/metrics/corpus.ts";
import { rouge1, rouge2, rougeL } from "../../../lib/tasks/metrics/rouge.ts";
import { pearson, spearman } from "../../../lib/tasks/metrics/values.ts";
import { assertWithin } from "../../compare.ts";

const { classes, values, texts } = JSON.parse(
  await Deno.readTextFile(new URL("../../fixtures/scores/tasks.json", import.meta.url)),
);

Deno.test("scores of classes are scikit-learn's", () => {
  const scores = { accuracy, "f1-binary": f1Binary, "f1-macro": f1Macro, matthews };
  for (const one of classes) {
    const [truth, predicted] = [Int32Array.from(one.truth), Int32Array.from(one.predicted)];
    for (const [name, score] of Object.entries(scores)) {
      if (one[name] === null) continue;
      assertWithin(`${name} of ${one.truth}`, [score(truth, predicted)], [one[name]], 1e-12);
    }
  }
});

Deno.test("correlations are scipy's, ties among them, and NaN where one side is all alike", () => {
  for (const one of values) {
    const [truth, predicted] = [Float64Array.from(one.truth), Float64Array.from(one.predicted)];
    assertWithin("pearson", [pearson(truth, predicted)], [one.pearson], 1e-12);
    assertWithin("spearman", [spearman(truth, predicted)], [one.spearman], 1e-12);
  }
  const alike = new Float64Array(3);
  for (const score of [pearson, spearman]) assert.ok(Number.isNaN(score(alike, Float64Array.of(1, 2, 3))));
});

Deno.test("BLEU and chrF are sacreBLEU's, and ROUGE is rouge-score's", () => {
  for (const one of texts) {
    assertWithin("bleu", [corpusScore(bleu, one.hypotheses, one.references)], [one.bleu], 1e-9);
    assertWithin("chrf", [corpusScore(chrf, one.hypotheses, one.references)], [one.chrf], 1e-9);
    for (const [name, score] of [["rouge-1", rouge1], ["rouge-2", rouge2], ["rouge-l", rougeL]] as const) {
      const own = one.hypotheses.map((text: string, i: number) => score(text, one.references[i]));
      assertWithin(name, own, one[name], 1e-12);
    }
  }
});
