// SPDX-License-Identifier: Apache-2.0
/** Loss over a data set, and scores of generated answers. */
import assert from "node:assert/strict";
import { DatasetBuilder } from "../../../lib/data/dataset.ts";
import { datasetLoss } from "../../../lib/evaluate/loss.ts";
import {
  loadPrompts,
  type RowScore,
  type ScoreName,
  scoreRows,
  summarizeScores,
} from "../../../lib/evaluate/score.ts";
import { loadModel } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { fixtureTokenizer, withLines } from "../data/fixtures.ts";
import { CHARACTERS } from "./fake_session.ts";

Deno.test("datasetLoss() is the token mean over all examples, whatever the micro-batch", async () => {
  const fixture = modelFixture("llama_biases");
  using model = loadModel(fixture.dir, referenceKernels());
  const { ids, starts } = fixture.batch;
  const builder = new DatasetBuilder(["x"]);
  for (let s = 0; s + 1 < starts.length; s++) {
    const example = [...ids.subarray(starts[s], starts[s + 1])];
    const lossMask = example.map((_, i) => i > 0 && (s + i) % 3 !== 0 ? 1 : 0);
    builder.add({ ids: Int32Array.from(example), lossMask: Uint8Array.from(lossMask), cutTokens: 0 }, {
      file: "x",
      line: s + 1,
    });
  }
  const dataset = builder.finish(64, { rowsRead: 2, rowsUsed: 2, badRows: [], warnings: [] });
  const seen: number[] = [];
  const one = await datasetLoss(model, dataset, { microBatchSize: 1, onProgress: (done) => seen.push(done) });
  const all = await datasetLoss(model, dataset, { microBatchSize: 100 });
  assert(Math.abs(one.loss - all.loss) <= 1e-12 * all.loss);
  assert.equal(one.perplexity, Math.exp(one.loss));
  assert.equal(one.targets, dataset.report.targets);
  assert.equal(one.tokens, ids.length);
  assert.deepEqual(seen, Array.from({ length: starts.length - 1 }, (_, i) => i + 1));
});

Deno.test("loadPrompts() takes answers from every shape but {text}", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const rows = [
    { question: "q", answer: ["a", "b"] },
    { prompt: "p", completion: "c" },
    { instruction: "i", output: "o" },
    {
      messages: [{ role: "user", content: "u" }, { role: "assistant", content: "first" }, {
        role: "user",
        content: "v",
      }, { role: "assistant", content: "last" }],
    },
    { text: "t" },
  ];
  await withLines(rows, async (path) => {
    const { items, report } = await loadPrompts(path, tokenizer, { badRows: "skip" });
    assert.deepEqual(items.map(({ value }) => value.answers), [["a", "b"], ["c"], ["o"], ["last"]]);
    assert.deepEqual(report.badRows.map(({ line, reason }) => [line, /no prompt/.test(reason)]), [[5, true]]);
    const text = tokenizer.decode(items[3]?.value.ids ?? [], { keepSpecial: true });
    assert.match(text, /first<\|im_end\|>\n<\|im_start\|>user\nv<\|im_end\|>\n<\|im_start\|>assistant\n$/);
    await assert.rejects(loadPrompts(path, tokenizer), /1 of 5 rows/);
  });
});

Deno.test("scoreRows() scores what the model says against all accepted answers", async () => {
  using model = loadModel(modelFixture("llama_biases").dir, referenceKernels());
  const options = { maxNewTokens: 3, stopIds: new Set<number>(), sequences: 2 };
  const prompt = (ids: number[], answers: string[], line: number) => ({
    value: { ids, answers },
    place: { file: "x", line },
  });
  const names: ScoreName[] = ["exact-match", "f1"];
  const probe: RowScore[] = await Array.fromAsync(
    scoreRows(model, CHARACTERS, [prompt([5, 6], ["?"], 1), prompt([9], ["?"], 2)], names, options),
  );
  const said = (line: number) => probe.find(({ place }) => place.line === line)?.prediction as string;
  const rows = await Array.fromAsync(scoreRows(
    model,
    CHARACTERS,
    [prompt([5, 6], ["?", `${said(1)}`], 1), prompt([9], [`${said(2)} and more words`], 2)],
    names,
    options,
  ));
  rows.sort((a, b) => a.place.line - b.place.line);
  assert.deepEqual(rows.map(({ prediction }) => prediction), [said(1), said(2)]);
  assert.equal(rows[0]?.scores["exact-match"], 1);
  assert.equal(rows[0]?.scores.f1, 1);
  assert.equal(rows[1]?.scores["exact-match"], 0);
});

Deno.test("scoreRows() wants numbers in the answers of gsm8k scores", async () => {
  using model = loadModel(modelFixture("llama_biases").dir, referenceKernels());
  const prompts = [{ value: { ids: [5], answers: ["none"] }, place: { file: "x", line: 7 } }];
  const options = { maxNewTokens: 1, stopIds: new Set<number>() };
  const rows = scoreRows(model, CHARACTERS, prompts, ["gsm8k"], options);
  await assert.rejects(rows.next(), {
    name: "UserError",
    message: /1 of 1 rows have none: x:7; score these/,
  });
});

Deno.test("summarizeScores() gives Wilson's interval for matches and the normal one for F1", () => {
  const row = (match: number, overlap: number): RowScore => ({
    place: { file: "x", line: 1 },
    prediction: "",
    answers: [],
    scores: { "exact-match": match, f1: overlap },
  });
  const summary = summarizeScores([row(1, 1), row(0, 0.5), row(0, 0.3)], ["exact-match", "f1"]);
  const [match, overlap] = [summary.get("exact-match"), summary.get("f1")];
  assert.equal(match?.mean, 1 / 3);
  assert(Math.abs((match?.low ?? 0) - 0.0614920) <= 1e-6 && Math.abs((match?.high ?? 0) - 0.7923403) <= 1e-6);
  assert(Math.abs((overlap?.mean ?? 0) - 0.6) <= 1e-12);
});
