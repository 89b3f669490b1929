// SPDX-License-Identifier: Apache-2.0
/** Answers of a model to a data set's prompts, scored against the answers the data set accepts. */
import { UserError } from "../core/errors.ts";
import { settleTemplate, TEXT_PROMPTS } from "../data/examples.ts";
import type { Prompt, PromptOptions, PromptReader } from "../data/prompt_reader.ts";
import type { ReadReport } from "../data/dataset.ts";
import type { BadRowPolicy } from "../data/bad_rows.ts";
import { loadRows, type Placed } from "../data/load_data.ts";
import { RowError } from "../data/row_error.ts";
import { formatPlace, type RowPlace } from "../data/rows.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { Model } from "../models/model.ts";
import type { Answer, FinishReason } from "./answer_options.ts";
import { generateAnswers, type GenerateTokensOptions } from "./generate_tokens.ts";
import { gsm8kMatch, isGsm8kReference } from "./gsm8k.ts";
import { type Estimate, exactMatch, f1, meanScore, proportion } from "./metrics.ts";
import { bleu } from "../tasks/metrics/bleu.ts";
import { chrf } from "../tasks/metrics/chrf.ts";
import { type CorpusScore, corpusScore, summed } from "../tasks/metrics/corpus.ts";
import { rouge1, rouge2, rougeL } from "../tasks/metrics/rouge.ts";
import { drawnEstimate } from "./draws.ts";
import { checkRoom } from "./room.ts";
import { promptOpensThought, specialMarkIds, spokenText } from "./thoughts.ts";

/**
 * Scores of generated answers, by the names of the command line. The two of GSM8K are those of the lm-evaluation-harness:
 * strict wants `#### n`, flexible takes the last number; "gsm8k" is the strict one by its older name. ROUGE is rouge-score's,
 * BLEU and chrF are sacreBLEU's, which are of all rows together.
 */
export const SCORE_NAMES = [
  "exact-match",
  "f1",
  "gsm8k-strict",
  "gsm8k-flexible",
  "gsm8k",
  "rouge-1",
  "rouge-2",
  "rouge-l",
  "bleu",
  "chrf",
] as const;

/** One of {@linkcode SCORE_NAMES}. */
export type ScoreName = typeof SCORE_NAMES[number];

/** One row's answer and scores. */
export interface RowScore {
  readonly place: RowPlace;
  /** What was said, without thoughts. */
  readonly prediction: string;
  /** The accepted answers, without thoughts. */
  readonly answers: readonly string[];
  /** Each in [0, 1]. */
  readonly scores: Readonly<Partial<Record<ScoreName, number>>>;
  /** All that was generated, thoughts included. */
  readonly text: string;
  /** Why it ended. */
  readonly finish: FinishReason;
}

type Scorer = (prediction: string, answers: readonly string[]) => number;

const gsm8kStrict: Scorer = (prediction, answers) => gsm8kMatch(prediction, answers, "strict");

const SCORES: Readonly<Record<ScoreName, Scorer>> = {
  "exact-match": exactMatch,
  f1,
  "gsm8k-strict": gsm8kStrict,
  "gsm8k-flexible": (prediction, answers) => gsm8kMatch(prediction, answers, "flexible"),
  gsm8k: gsm8kStrict,
  "rouge-1": rouge1,
  "rouge-2": rouge2,
  "rouge-l": rougeL,
  bleu: (prediction, answers) => corpusScore(bleu, [prediction], [answers]) / 100,
  chrf: (prediction, answers) => corpusScore(chrf, [prediction], [answers]) / 100,
};

/** Scores of all rows together. */
const CORPUS_SCORES: Readonly<Partial<Record<ScoreName, CorpusScore>>> = { bleu, chrf };

/** Scores that are no shares of right rows. */
const MEANS: readonly ScoreName[] = ["f1", "rouge-1", "rouge-2", "rouge-l"];

/** Rows that an error names at most. */
const LISTED = 5;

/** How data files become prompts. */
export interface LoadPromptsOptions extends PromptOptions {
  readonly badRows?: BadRowPolicy;
  /**
   * Tokens that the model has room for, prompt and answer together (`maxPositionEmbeddings`): a prompt that leaves none for
   * an answer is a bad row. Where prompts are read apart from answers, of the prompt alone. Default: without end.
   */
  readonly room?: number;
  /** How rows become prompts; see `promptsOf` of a task. Default: those that a model goes on from. */
  readonly reader?: PromptReader;
  /** Scores that will be taken: rows whose accepted answers none of them could find right are bad rows. Default none. */
  readonly scores?: readonly ScoreName[];
}

/**
 * Reads data files as prompts with answers: `{question, answer}` accepts every answer, `{prompt, completion}` the
 * completion, `{instruction, output}` the output, `{messages}` the last assistant turn; each without its thoughts. `{text}`
 * rows are bad rows, and so are those whose prompt is too long or that accept nothing but thoughts.
 */
export function loadPrompts(
  paths: string | readonly string[],
  tokenizer: Tokenizer,
  options: LoadPromptsOptions = {},
): Promise<{ items: Placed<Prompt>[]; report: ReadReport }> {
  const { reader = TEXT_PROMPTS, room = Infinity, badRows = "stop" } = options;
  const settled = settleTemplate(tokenizer, options);
  return loadRows(paths, badRows, async (row) => {
    const { ids, answers } = await reader.fromRow(row, settled.tokenizer, settled.options);
    checkRoom(ids, room, reader.answersApart);
    return { ids, answers: spokenAnswers(answers, options.scores ?? []) };
  });
}

/**
 * Generates an answer to every prompt and scores it. Thoughts are cut off answers and accepted answers alike, and stop
 * strings end what is said, not thoughts. Rows come in the order their answers end.
 *
 * @throws {UserError} When a gsm8k score is asked for and an accepted answer has no number in it
 */
export async function* scoreRows(
  model: Model,
  tokenizer: Tokenizer,
  prompts: readonly Placed<Prompt>[],
  names: readonly ScoreName[],
  options: GenerateTokensOptions,
): AsyncGenerator<RowScore> {
  if (names.some(isGsm8k)) checkNumbers(prompts);
  const ids = prompts.map(({ value }) => value.ids);
  const thinking = { ...options, shownIds: specialMarkIds(tokenizer), stopsAfterThoughts: true };
  for await (const answer of generateAnswers(model, tokenizer, ids, thinking)) {
    const { value, place } = prompts[answer.index] as Placed<Prompt>;
    yield { place, ...scoreAnswer(answer, value, tokenizer, names) };
  }
}

/** Scores a generated answer. */
export function scoreAnswer(
  { text, finish }: Pick<Answer, "text" | "finish">,
  prompt: Prompt,
  tokenizer: Tokenizer,
  names: readonly ScoreName[],
): Omit<RowScore, "place"> {
  // A model that ends its answer without closing a thought has answered; one that was cut off was still thinking.
  const prediction = spokenText(text, finish === "length" && promptOpensThought(prompt.ids, tokenizer));
  const answers = prompt.answers.map((answer) => spokenText(answer));
  const scores = Object.fromEntries(names.map((name) => [name, SCORES[name](prediction, answers)]));
  return { prediction, answers, scores, text, finish };
}

/** Scores over rows: Wilson's interval where a score is 0 or 1, the normal one of other means, draws of rows for a corpus. */
export function summarizeScores(
  rows: readonly RowScore[],
  names: readonly ScoreName[],
): Map<ScoreName, Estimate> {
  return new Map(names.map((name) => {
    const ofCorpus = CORPUS_SCORES[name];
    if (ofCorpus) return [name, corpusEstimate(ofCorpus, rows)];
    const scores = rows.map((row) => row.scores[name] as number);
    if (MEANS.includes(name)) return [name, meanScore(scores)];
    return [name, proportion(scores.reduce((sum, score) => sum + score, 0), scores.length)];
  }));
}

function corpusEstimate({ statistics, score }: CorpusScore, rows: readonly RowScore[]): Estimate {
  const all = rows.map(({ prediction, answers }) => statistics(prediction, answers));
  return drawnEstimate(
    rows.length,
    1,
    (drawn) => score(summed(Array.from(drawn, (row) => all[row] as Float64Array))) / 100,
  );
}

function isGsm8k(name: ScoreName): boolean {
  return name.startsWith("gsm8k");
}

/** Accepted answers without thoughts. @throws {RowError} When no prediction could match any */
function spokenAnswers(answers: readonly string[], scores: readonly ScoreName[]): readonly string[] {
  const spoken = answers.map((answer) => spokenText(answer)).filter((answer) => answer !== "");
  if (spoken.length === 0) {
    throw new RowError("empty", "the answer says nothing beside thoughts and calls of tools");
  }
  if (scores.some(isGsm8k) && !spoken.some(isGsm8kReference)) {
    throw new RowError(
      "no number",
      `the answer is no number and ends in no "#### number", so that no gsm8k score could find it`,
    );
  }
  return spoken;
}

function checkNumbers(prompts: readonly Placed<Prompt>[]): void {
  const without = prompts.filter(({ value }) =>
    !value.answers.some((answer) => isGsm8kReference(spokenText(answer)))
  );
  if (without.length === 0) return;
  const places = without.slice(0, LISTED).map(({ place }) => formatPlace(place)).join(", ");
  throw new UserError(
    `gsm8k scores need an answer that is a number or ends in "#### number", but ${without.length} of ` +
      `${prompts.length} rows have none: ${places}${
        without.length > LISTED ? ", …" : ""
      }; score these with ` +
      `exact-match or f1`,
  );
}
