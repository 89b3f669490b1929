// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import type { Dataset } from "../../../lib/data/dataset.ts";
import type { Tokenizer } from "../../../lib/data/tokenizer.ts";
import { generateAnswers } from "../../../lib/evaluate/generate_tokens.ts";
import { answerQuestions, sampleQuestions } from "../../../lib/evaluate/sample_answers.ts";
import { smallModel } from "../train/small_run.ts";
import { CHARACTERS } from "./fake_session.ts";

/** Token 7 reads as " 7". */
const tokenizer = {
  decode: (ids: ArrayLike<number>) => Array.from(ids, (id) => ` ${id}`).join(""),
} as Partial<Tokenizer> as Tokenizer;

/** Examples of tokens 0, 1, 2, … with these masks, some of them cut. */
function dataOf(masks: readonly (readonly number[])[], cut: readonly number[] = []): Dataset {
  const ends = masks.map((_, i) => masks.slice(0, i + 1).flat().length);
  return {
    ids: Int32Array.from(masks.flat(), (_, i) => i),
    lossMask: Uint8Array.from(masks.flat()),
    offsets: Float64Array.from([0, ...ends]),
    cutOf: Uint32Array.from(masks, (_, i) => cut.includes(i) ? 1 : 0),
  } as Partial<Dataset> as Dataset;
}

Deno.test("sampleQuestions() takes what stands before the last completion", () => {
  const [question] = sampleQuestions(dataOf([[0, 1, 0, 0, 1, 1]]), tokenizer, 4);
  deepStrictEqual(question, { ids: [0, 1, 2, 3], prompt: "0 1 2 3", expected: "4 5" });
});

Deno.test("sampleQuestions() comes from all over the data and leaves out texts and what was cut", () => {
  const row = [0, 0, 1];
  const prompts = (data: Dataset, count: number) =>
    sampleQuestions(data, tokenizer, count).map(({ ids }) => ids[0]);
  deepStrictEqual(prompts(dataOf(Array(8).fill(row)), 4), [0, 6, 12, 18]);
  deepStrictEqual(prompts(dataOf(Array(8).fill(row)), 0), []);
  deepStrictEqual(prompts(dataOf([row, row]), 4), [0, 3]);
  deepStrictEqual(prompts(dataOf([[0, 1, 1], row, row], [1]), 2), [6]);
  deepStrictEqual(prompts(dataOf([]), 2), []);
  deepStrictEqual(prompts(dataOf([row, row]), 1e12), [0, 3]); // at once
});

Deno.test("sampleQuestions() leaves out questions that leave no room for an answer", () => {
  const data = dataOf([[0, 0, 1], [0, 0, 0, 1], [0, 0, 1]]);
  deepStrictEqual(sampleQuestions(data, tokenizer, 3, 3).map(({ ids }) => ids.length), [2, 2]);
  deepStrictEqual(sampleQuestions(data, tokenizer, 3, 4).map(({ ids }) => ids.length), [2, 3, 2]);
});

Deno.test("answerQuestions() gives answers in the order of the questions, whichever ends first, without space around", async () => {
  using model = smallModel();
  const questions = [[5, 6], [9], [3, 1, 4]].map((ids) => ({ ids, prompt: "", expected: "" }));
  const options = { maxNewTokens: 4, stopIds: new Set<number>(), temperature: 2 };
  const alone = new Map<number, number[]>();
  for await (
    const { index, ids } of generateAnswers(
      model,
      CHARACTERS,
      questions.map(({ ids }) => ids),
      options,
    )
  ) {
    alone.set(index, [...ids]);
  }
  const last = alone.get(2)?.[1] as number; // ends the last answer after two tokens, perhaps others
  const expected = questions.map((_, i) => {
    const all = alone.get(i) as number[];
    const end = all.indexOf(last);
    return (end < 0 ? all : all.slice(0, end)).join(" ");
  });
  strictEqual(new Set(expected.map((text) => text.length)).size > 1, true, "they end at different times");
  const spaced = { ...tokenizer, specialIds: new Set<number>(), token: () => null } as unknown as Tokenizer;
  for (const sequences of [1, 2, 3]) {
    const stopping = { ...options, stopIds: new Set([last]), sequences };
    deepStrictEqual(await answerQuestions(model, spaced, questions, stopping), expected);
  }
});
