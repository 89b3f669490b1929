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
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { makeMicroBatch } from "../../../lib/data/batches.ts";
import type { Tokenizer } from "../../../lib/data/tokenizer.ts";
import { evaluateLoss } from "../../../lib/models/engine/pass.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { assertWithin } from "../../compare.ts";
import { fixtureTokenizer, withLines } from "../data/fixtures.ts";
import { smallData, smallModel, smallOptions } from "../train/small_run.ts";
import type { FinishReason } from "../../../lib/evaluate/answer_options.ts";
import { generateTokens } from "../../../lib/evaluate/generate_tokens.ts";
import { CHARACTERS } from "./fake_session.ts";

Deno.test("datasetLoss() is the token mean over all examples, whatever the micro-batch", async () => {
  const fixture = modelFixture("llama_biases");
  using model = openCheckpoint(fixture.dir, referenceKernels());
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

Deno.test("datasetLoss() computes eight examples at once, with the adapter, and names its tensor that is not finite", async () => {
  using model = smallModel();
  const data = smallData(20);
  const { params } = init(plan(model, smallOptions()));
  const values = params.parameters.find(({ name }) => name.endsWith("1.mlp.meft.values"));
  assert(values?.kind === "rows" && values.matrix.full);
  values.matrix.full.fill(0.25);
  const { hooks } = params.attach(model.kernels);
  const seen: number[] = [];
  const { loss } = await datasetLoss(model, data, { hooks, onProgress: (done) => seen.push(done) });
  assert.deepEqual(seen, [8, 16, 20]);
  const all = makeMicroBatch(data, Int32Array.from({ length: 20 }, (_, i) => i)).batch;
  const whole = await evaluateLoss(model, all, hooks);
  assertWithin("loss", [loss], [whole.lossSum / whole.targetCount], 1e-12 * loss);
  assert.notEqual((await datasetLoss(model, data)).loss, loss);
  values.matrix.full.fill(Infinity);
  await assert.rejects(datasetLoss(model, data, { hooks, adapter: params }), {
    name: "NotFiniteError",
    message:
      /^The loss of small\.jsonl:1,2,3,4,5,6,7,8 is .*1\.mlp\.meft\.values" of the adapter holds Infinity at \[0, 0\]/,
  });
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
  using model = openCheckpoint(modelFixture("llama_biases").dir, referenceKernels());
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
    { question: "q", answer: ["four", "4"] },
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
    assert.deepEqual(await load(["f1"]), [
      [["4 apples"], ["2 + 2\n#### 4"], ["four", "4"]],
      [[2, "empty"], [3, "empty"]],
    ]);
    for (const name of ["gsm8k", "gsm8k-strict", "gsm8k-flexible"] as const) {
      assert.deepEqual(await load(["f1", name]), [
        [["2 + 2\n#### 4"], ["four", "4"]],
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

Deno.test("gsm8k is the strict score: a number after ####, and no other", () => {
  const names = ["gsm8k", "gsm8k-strict", "gsm8k-flexible"] as const;
  const score = (text: string) => {
    const { scores } = scoreAnswer(
      { text, finish: "stop id" },
      { ids: [5], answers: ["3", "4"] },
      CHARACTERS,
      names,
    );
    return names.map((name) => scores[name]);
  };
  assert.deepEqual(score("2 + 2\n#### 4"), [1, 1, 1]);
  assert.deepEqual(score("2 + 2 is 4"), [0, 0, 1]);
  assert.deepEqual(score("#### 4\nor 5"), [1, 1, 0]);
});

Deno.test("scoreRows() shows marks of thoughts that are special tokens, in which no stop string counts", async () => {
  using model = smallModel();
  const options = { temperature: 2, seed: 5, maxNewTokens: 5, stopIds: new Set<number>() };
  const ids: number[] = [];
  for await (const { id } of generateTokens(model, CHARACTERS, [[5, 6]], options)) ids.push(id);
  assert.equal(new Set(ids).size, 5, "the case has no token twice");
  const said = ["<think>", "5#", "</think>", "4", "#"];
  const token = (id: number) => said[ids.indexOf(id)] ?? "";
  const specialIds = new Set([ids[0] as number, ids[2] as number]);
  const decode: Tokenizer["decode"] = (all, { keepSpecial = false } = {}) =>
    Array.from(all, (id) => keepSpecial || !specialIds.has(id) ? token(id) : "").join("");
  const tokenizer = { ...CHARACTERS, specialIds, token, decode };
  const prompts = [{ value: { ids: [5, 6], answers: ["4"] }, place: { file: "x", line: 1 } }];
  const stopping = { ...options, stopStrings: ["#"] };
  const [row] = await Array.fromAsync(scoreRows(model, tokenizer, prompts, ["exact-match"], stopping));
  assert.deepEqual(row, {
    place: { file: "x", line: 1 },
    prediction: "4",
    answers: ["4"],
    scores: { "exact-match": 1 },
    text: "<think>5#</think>4",
    finish: "stop string",
  });
});

Deno.test("scoreRows() names the first five rows without a number", async () => {
  using model = smallModel();
  const options = { maxNewTokens: 1, stopIds: new Set<number>() };
  const refused = (count: number) => {
    const prompts = Array.from({ length: count }, (_, i) => ({
      value: { ids: [5], answers: i === 0 ? ["4"] : ["none"] },
      place: { file: "x", line: i + 1 },
    }));
    return scoreRows(model, CHARACTERS, prompts, ["f1", "gsm8k"], options).next();
  };
  await assert.rejects(refused(6), /5 of 6 rows have none: x:2, x:3, x:4, x:5, x:6; score/);
  await assert.rejects(refused(7), /6 of 7 rows have none: x:2, x:3, x:4, x:5, x:6, …; score/);
});

Deno.test("scoreRows() wants numbers in the answers of gsm8k scores", async () => {
  using model = openCheckpoint(modelFixture("llama_biases").dir, referenceKernels());
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
  const half = 1.959963984540054 * Math.sqrt((0.4 ** 2 + 0.1 ** 2 + 0.3 ** 2) / 2 / 3);
  assertWithin("f1", [overlap?.mean, overlap?.low, overlap?.high] as number[], [0.6, 0.6 - half, 1], 1e-12);
});
