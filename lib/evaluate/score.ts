// SPDX-License-Identifier: Apache-2.0
/** Answers of a model to a data set's prompts, scored against the answers the data set accepts. */
import { UserError } from "../core/errors.ts";
import { buildPrompt, type Prompt } from "../data/examples.ts";
import type { FormatOptions } from "../data/format_options.ts";
import type { ReadReport } from "../data/dataset.ts";
import { type BadRowPolicy, loadRows, type Placed } from "../data/load_data.ts";
import { formatPlace, type RowPlace } from "../data/rows.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { Model } from "../models/model.ts";
import { generateAnswers, type ModelGenerateOptions } from "./generate.ts";
import {
  type Estimate,
  exactMatch,
  f1,
  gsm8kMatch,
  gsm8kReference,
  meanScore,
  proportion,
} from "./metrics.ts";

/** Scores of generated answers, by the names of the command line; "gsm8k" wants `#### n`, the other any last number. */
export type ScoreName = "exact-match" | "f1" | "gsm8k" | "gsm8k-flexible";

/** One row's answer and scores. */
export interface RowScore {
  readonly place: RowPlace;
  readonly prediction: string;
  readonly answers: readonly string[];
  /** Each in [0, 1]. */
  readonly scores: Readonly<Partial<Record<ScoreName, number>>>;
}

const SCORES: Readonly<Record<ScoreName, (prediction: string, answers: readonly string[]) => number>> = {
  "exact-match": exactMatch,
  f1,
  gsm8k: (prediction, answers) => gsm8kMatch(prediction, answers, "strict"),
  "gsm8k-flexible": (prediction, answers) => gsm8kMatch(prediction, answers, "flexible"),
};

/** Rows that an error names at most. */
const LISTED = 5;

/**
 * Reads data files as prompts with answers: `{question, answer}` accepts every answer, `{prompt, completion}` the
 * completion, `{instruction, output}` the output, `{messages}` the last assistant turn. `{text}` rows are bad rows.
 */
export function loadPrompts(
  paths: string | readonly string[],
  tokenizer: Tokenizer,
  options: FormatOptions & { readonly badRows?: BadRowPolicy } = {},
): Promise<{ items: Placed<Prompt>[]; report: ReadReport }> {
  return loadRows(paths, options.badRows ?? "stop", (row) => buildPrompt(row, tokenizer, options));
}

/**
 * Generates an answer to every prompt and scores it. Rows come in the order their answers end.
 *
 * @throws {UserError} When a gsm8k score is asked for and an accepted answer has no number in it
 */
export async function* scoreRows(
  model: Model,
  tokenizer: Tokenizer,
  prompts: readonly Placed<Prompt>[],
  names: readonly ScoreName[],
  options: ModelGenerateOptions,
): AsyncGenerator<RowScore> {
  if (names.some((name) => name.startsWith("gsm8k"))) checkNumbers(prompts);
  const ids = prompts.map(({ value }) => value.ids);
  for await (const { index, text } of generateAnswers(model, tokenizer, ids, options)) {
    const { value: { answers }, place } = prompts[index] as Placed<Prompt>;
    const prediction = finalAnswer(text);
    const scores = Object.fromEntries(names.map((name) => [name, SCORES[name](prediction, answers)]));
    yield { place, prediction, answers, scores };
  }
}

/** Means of the scores over rows: Wilson's interval where a score is 0 or 1, the normal one for F1. */
export function summarizeScores(
  rows: readonly RowScore[],
  names: readonly ScoreName[],
): Map<ScoreName, Estimate> {
  return new Map(names.map((name) => {
    const scores = rows.map((row) => row.scores[name] as number);
    if (name === "f1") return [name, meanScore(scores)];
    return [name, proportion(scores.reduce((sum, score) => sum + score, 0), scores.length)];
  }));
}

/** What a reasoning model says after its thoughts. */
function finalAnswer(text: string): string {
  return (text.split("</think>").at(-1) as string).trim();
}

function checkNumbers(prompts: readonly Placed<Prompt>[]): void {
  const without = prompts.filter(({ value }) =>
    value.answers.every((answer) => gsm8kReference(answer) === null)
  );
  if (without.length === 0) return;
  const places = without.slice(0, LISTED).map(({ place }) => formatPlace(place)).join(", ");
  throw new UserError(
    `gsm8k scores need a number in each answer, but ${without.length} of ${prompts.length} rows have none: ` +
      `${places}${without.length > LISTED ? ", …" : ""}; score these with exact-match or f1`,
  );
}
