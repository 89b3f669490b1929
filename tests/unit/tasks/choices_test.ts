// SPDX-License-Identifier: Apache-2.0
/** Questions with choices: the shapes of published sets in the harness's words, their tokens, and which choice is taken. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { sequentialBatches } from "../../../lib/data/batches.ts";
import { BadRowsError } from "../../../lib/data/bad_rows.ts";
import { choiceLikelihoods, estimateChoices } from "../../../lib/evaluate/choices.ts";
import { evaluateLoss } from "../../../lib/models/engine/pass.ts";
import { LM_HEAD } from "../../../lib/models/heads/head_config.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { loadChoices } from "../../../lib/tasks/choice_data.ts";
import { choiceRow } from "../../../lib/tasks/choice_rows.ts";
import { taskOf } from "../../../lib/tasks/registry.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { assertWithin } from "../../compare.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { CHARACTERS } from "../evaluate/fake_session.ts";

/** Characters as ids below 61, behind a mark. */
const TOKENIZER = {
  ...CHARACTERS,
  prefixIds: [1],
  encodeBatch: (texts: readonly string[]) =>
    Promise.resolve(texts.map((text) => {
      const ids = Int32Array.from(text, (character) => (character.codePointAt(0) as number) % 61);
      return { ids, starts: ids.map((_, i) => i), ends: ids.map((_, i) => i + 1) };
    })),
};

Deno.test("choiceRow() asks ARC, OpenBookQA, PIQA and SciQ as the lm-evaluation-harness does", () => {
  const keyed = { choices: { text: ["x", "y", "z"], label: ["A", "B", "C"] }, answerKey: "B" };
  const asked = { context: "Question: why?\nAnswer:", choices: ["x", "y", "z"], answer: 1 };
  assert.deepEqual(choiceRow({ id: "q1", question: "why?", ...keyed }), asked);
  const stem = { stem: "why?", choices: [{ text: "x", label: "1" }, { text: "y", label: "2" }] };
  assert.deepEqual(choiceRow({ question: stem, answerKey: "2" }), { ...asked, choices: ["x", "y"] });
  assert.deepEqual(choiceRow({ question_stem: "The sun", ...keyed }), { ...asked, context: "The sun" });
  assert.deepEqual(choiceRow({ goal: "why?", sol1: "x", sol2: "y", label: 1 }), {
    ...asked,
    choices: ["x", "y"],
  });
  const sciq = {
    question: "why?",
    distractor1: "x",
    distractor2: "y",
    distractor3: "w",
    correct_answer: "z",
    support: " So.",
  };
  assert.deepEqual(choiceRow(sciq), {
    context: "So.\nQuestion: why?\nAnswer:",
    choices: ["x", "y", "w", "z"],
    answer: 3,
  });
  for (const answer of [1, "B", "y"]) {
    assert.deepEqual(choiceRow({ question: "why?", choices: ["x", "y", "z"], answer }), asked);
  }
});

Deno.test("choiceRow() names what is wrong, and the answers there are", () => {
  const keyed = { choices: { text: ["x", "y"], label: ["A", "B"] } };
  assert.throws(
    () => choiceRow({ question: "q", ...keyed, answerKey: "E" }),
    /"answerKey" is "E", expected one of "A", "B"/,
  );
  assert.throws(
    () => choiceRow({ goal: "q", sol1: "x", sol2: "y", label: -1 }),
    /"label" is -1, expected a number from 0 to 1/,
  );
  assert.throws(() => choiceRow({ question: "q", choices: ["x"], answer: 0 }), /expected two texts or more/);
  assert.throws(
    () => choiceRow({ question: "q", choices: "x", answerKey: "A" }),
    /expected two or more with text and label/,
  );
  assert.throws(
    () => choiceRow({ question: "q" }),
    /the row has "question", expected \{question, choices, answer\}/,
  );
});

function withRows<T>(rows: readonly unknown[], run: (path: string) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const path = join(folder, "rows.jsonl");
    await Deno.writeTextFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
    return await run(path);
  });
}

const ROWS = [
  { question: "ab", choices: ["c", "defg"], answer: 1 },
  { question: "hi", choices: ["jk", "l", "mno"], answer: 0 },
];

Deno.test("loadChoices() puts each choice behind its question, and to learn from the right one alone", () =>
  withRows(ROWS, async (path) => {
    const all = await loadChoices([path], TOKENIZER, { seqLen: 64 }, "all");
    assert.deepEqual(all.questions.map(({ first }) => first), [0, 2]);
    const [, second] = [...sequentialBatches(all.data, 1)];
    const whole = `Question: ab\nAnswer: defg`;
    assert.deepEqual([...second!.batch.ids], [
      1,
      ...[...whole].map((c) => (c.codePointAt(0) as number) % 61),
    ]);
    assert.equal(second!.batch.targetCount, " defg".length);
    const right = await taskOf("multiple-choice", { head: LM_HEAD, takes: "tokens" }).load([path], {
      dir: "",
      config: { head: LM_HEAD },
      tokenizer: TOKENIZER,
    }, { seqLen: 64 });
    assert.deepEqual([right.report.targets, right.report.rowsUsed], [" defg".length + " jk".length, 2]);
    // What is too long loses the beginning of the question, never the mark.
    const cut = await loadChoices([path], TOKENIZER, { seqLen: 12 }, "all");
    assert.equal(cut.data.ids[0], 1);
    assert.equal(cut.data.report.truncatedRows, 5);
    await assert.rejects(() => loadChoices([path], TOKENIZER, { seqLen: 5 }, "all"), BadRowsError);
  }));

Deno.test("the likeliest choice is taken, by its tokens together or by its characters", () =>
  withRows(ROWS, async (path) => {
    const { scoring } = taskOf("multiple-choice", { head: LM_HEAD, takes: "tokens" });
    assert.ok(scoring.by === "choices");
    const set = await loadChoices([path], TOKENIZER, { seqLen: 64 }, "all");
    const likelihoods = Float64Array.of(-2, -6, -4, -3, -5.9);
    const chosen = (metric: string) =>
      set.questions.map((question) => scoring.chosen(metric, question, likelihoods));
    assert.deepEqual(chosen("accuracy"), [0, 1]);
    assert.deepEqual(chosen("accuracy-norm"), [1, 2]);
    const means = [...estimateChoices(scoring, ["accuracy", "accuracy-norm"], set, likelihoods)].map((
      [, { mean }],
    ) => mean);
    assert.deepEqual(means, [0, 0.5]);
  }));

Deno.test("choiceLikelihoods() are the losses of each choice alone, however many are computed at once", () =>
  withRows(ROWS, async (path) => {
    using model = openCheckpoint(modelFixture("llama_linear").dir, referenceKernels());
    const set = await loadChoices([path], TOKENIZER, { seqLen: 40 }, "all");
    const alone: number[] = [];
    for (const { batch } of sequentialBatches(set.data, 1)) {
      alone.push(-(await evaluateLoss(model, batch, {})).lossSum);
    }
    for (const microBatchSize of [1, 2, 8]) {
      assertWithin("likelihoods", await choiceLikelihoods(model, set, { microBatchSize }), alone, 1e-9);
    }
  }));
