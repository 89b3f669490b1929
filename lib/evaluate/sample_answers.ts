// SPDX-License-Identifier: Apache-2.0
/** A few questions of a data set, to see what a model answers before and after its training. */
import { type Dataset, exampleCount } from "../data/dataset.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { Model } from "../models/model.ts";
import { generateAnswers, type GenerateTokensOptions } from "./generate_tokens.ts";

/** A question as the model is asked it in training. */
export interface SampleQuestion {
  readonly ids: readonly number[];
  readonly prompt: string;
  /** What the data says. */
  readonly expected: string;
}

/**
 * At most `count` questions from all over a data set: of each example, what stands before its last completion. Examples
 * that were cut, texts, which have no question, and questions that leave a model no room for an answer are left out.
 *
 * @param room Tokens that the model has room for, question and answer together
 */
export function sampleQuestions(
  data: Dataset,
  tokenizer: Tokenizer,
  count: number,
  room = Infinity,
): SampleQuestion[] {
  const examples = exampleCount(data);
  const questions: SampleQuestion[] = [];
  let next = 0;
  for (let i = 0; i < count && next < examples; i++) {
    next = Math.max(next, Math.floor(i * examples / count));
    while (next < examples) {
      const question = questionOf(data, tokenizer, next++);
      if (question === null || question.ids.length >= room + Number(data.sources !== undefined)) continue;
      questions.push(question);
      break;
    }
  }
  return questions;
}

/** Answers to the questions, in their order. */
export async function answerQuestions(
  model: Model,
  tokenizer: Tokenizer,
  questions: readonly SampleQuestion[],
  options: GenerateTokensOptions,
): Promise<string[]> {
  const answers = questions.map(() => "");
  const prompts = questions.map(({ ids }) => ids);
  for await (const { index, text } of generateAnswers(model, tokenizer, prompts, options)) {
    answers[index] = text.trim();
  }
  return answers;
}

function questionOf(data: Dataset, tokenizer: Tokenizer, example: number): SampleQuestion | null {
  const [start = 0, end = 0] = data.offsets.subarray(example, example + 2);
  const { sources } = data;
  if (sources !== undefined) {
    if (data.cutOf[example] !== 0) return null;
    const read = sources.ids.subarray(sources.offsets[example], sources.offsets[example + 1]);
    const expected = tokenizer.decode(data.ids.subarray(start, end)).trim();
    return { ids: [...read], prompt: tokenizer.decode(read).trim(), expected };
  }
  const mask = data.lossMask.subarray(start, end);
  const completion = mask.lastIndexOf(0) + 1;
  // A text's only token that is no target is its first.
  if (completion < 2 || completion >= mask.length || data.cutOf[example] !== 0) return null;
  const ids = data.ids.subarray(start, end);
  return {
    ids: [...ids.subarray(0, completion)],
    prompt: tokenizer.decode(ids.subarray(0, completion)).trim(),
    expected: tokenizer.decode(ids.subarray(completion)).trim(),
  };
}
