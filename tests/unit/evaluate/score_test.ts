// SPDX-License-Identifier: Apache-2.0
/** Loss over a data set, and scores of generated answers. */
import assert from "node:assert/strict";
import { DatasetBuilder } from "../../../lib/data/dataset.ts";
import { datasetLoss } from "../../../lib/evaluate/loss.ts";
import {
  loadPrompts,
  type RowScore,
  scoreAnswer,
  type ScoreName,
  scoreRows,
  summarizeScores,
} from "../../../lib/evaluate/score.ts";
import { loadModel } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { fixtureTokenizer, withLines } from "../data/fixtures.ts";
import type { FinishReason } from "../../../lib/evaluate/generate.ts";
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

Deno.test("loadPrompts() refuses rows that accept thoughts alone, and rows that gsm8k scores could not find", () => {
  const rows = [
    { question: "q", answer: ["<think>\nhm\n</think>\n\n4 apples", "<think>four"] },
    { question: "q", answer: "<think>four" },
    { question: "q", answer: "<think>a</think>\n" },
    { question: "q", answer: "<think>5</think>\n2 + 2\n#### 4" },
  ];
  return withLines(rows, async (path) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    const load = async (scores: ScoreName[]) => {
      const { items, report } = await loadPrompts(path, tokenizer, { badRows: "skip", scores });
      return [
        items.map(({ value }) => value.answers),
        report.badRows.map(({ line, category }) => [line, category]),
      ];
    };
    assert.deepEqual(await load(["f1"]), [[["4 apples"], ["2 + 2\n#### 4"]], [[2, "empty"], [3, "empty"]]]);
    for (const name of ["gsm8k", "gsm8k-strict", "gsm8k-flexible"] as const) {
      assert.deepEqual(await load(["f1", name]), [
        [["2 + 2\n#### 4"]],
        [[1, "no number"], [2, "empty"], [3, "empty"]],
      ]);
    }
  });
});

Deno.test("loadPrompts() finds prompts that leave the model no room for an answer, as bad rows by file and line", () => {
  const rows = ["word", "word word word", "word word"].map((question) => ({ question, answer: "a" }));
  return withLines(rows, async (path) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    const all = await loadPrompts(path, tokenizer);
    const lengths = all.items.map(({ value }) => value.ids.length);
    const longest = lengths[1] as number;
    const { items, report } = await loadPrompts(path, tokenizer, { badRows: "skip", room: longest });
    assert.deepEqual(items.map(({ place }) => place.line), [1, 3], "a token for the answer is enough");
    assert.deepEqual(report.badRows.map(({ line, category }) => [line, category]), [[2, "over-long"]]);
    assert.equal((await loadPrompts(path, tokenizer, { room: longest + 1 })).items.length, 3);
    await assert.rejects(loadPrompts(path, tokenizer, { room: longest }), {
      name: "BadRowsError",
      message: new RegExp(
        `rows\\.jsonl:2: the prompt has ${longest} tokens, and the model has room for ${longest}, answer`,
      ),
    });
  });
});

Deno.test("scoreAnswer() cuts thoughts off prediction and answers alike, whoever opened them", async () => {
  const score = async (
    text: string,
    prompt: string,
    finish: FinishReason = "stop id",
    answer = "4 apples",
  ) => {
    const ids = await CHARACTERS.encode(prompt);
    const { prediction, scores } = scoreAnswer({ text, finish }, { ids, answers: [answer] }, CHARACTERS, [
      "exact-match",
      "f1",
    ]);
    assert.equal(scores["exact-match"], scores.f1);
    return [prediction, scores.f1];
  };
  const thoughts = "<think>\ntwo and two make\n</think>\n\n4 apples";
  assert.deepEqual(
    await score(thoughts, "user\n", "stop id", thoughts),
    ["4 apples", 1],
    "exactly the row's text",
  );
  assert.deepEqual(await score("4 apples", "user\n", "stop id", thoughts), ["4 apples", 1]);
  assert.deepEqual(await score(thoughts, "user\n"), ["4 apples", 1]);
  assert.deepEqual(await score("two\n</think>\n\n4 apples", "user\n<think>\n"), ["4 apples", 1]);
  assert.deepEqual(await score("<think>\n4 apples", "user\n", "length"), ["", 0], "cut off in its thoughts");
  assert.deepEqual(
    await score("4 apples", "user\n<think>\n", "length"),
    ["", 0],
    "in thoughts of the prompt",
  );
  assert.deepEqual(await score("4 apples", "user\n<think>\n"), ["4 apples", 1], "answered without thoughts");
  assert.deepEqual(await score("4 apples", "user\n<think>\n\n</think>\n\n", "length"), ["4 apples", 1]);
});

Deno.test("scoreRows() wants numbers in the answers of gsm8k scores", async () => {
  using model = loadModel(modelFixture("llama_biases").dir, referenceKernels());
  const prompts = [{ value: { ids: [5], answers: ["none"] }, place: { file: "x", line: 7 } }];
  const options = { maxNewTokens: 1, stopIds: new Set<number>() };
  const rows = scoreRows(model, CHARACTERS, prompts, ["gsm8k-strict"], options);
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
    text: "",
    finish: "stop id",
  });
  const summary = summarizeScores([row(1, 1), row(0, 0.5), row(0, 0.3)], ["exact-match", "f1"]);
  const [match, overlap] = [summary.get("exact-match"), summary.get("f1")];
  assert.equal(match?.mean, 1 / 3);
  assert(Math.abs((match?.low ?? 0) - 0.0614920) <= 1e-6 && Math.abs((match?.high ?? 0) - 0.7923403) <= 1e-6);
  assert(Math.abs((overlap?.mean ?? 0) - 0.6) <= 1e-12);
});
