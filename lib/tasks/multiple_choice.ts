// SPDX-License-Identifier: Apache-2.0
/** Questions with choices: the right one is learnt, and the likeliest is taken for the answer, as in the lm-evaluation-harness. */
import { LM_HEAD } from "../models/heads/head_config.ts";
import { loadChoices, type Question } from "./choice_data.ts";
import type { Task } from "./task.ts";

/** What a choice is worth, given the log-likelihood of its tokens. */
const WORTHS: Readonly<Record<string, (logLikelihood: number, choice: string) => number>> = {
  accuracy: (logLikelihood) => logLikelihood,
  "accuracy-norm": (logLikelihood, choice) => logLikelihood / [...choice].length,
};

/** See {@linkcode Task}. */
export const multipleChoice: Task = {
  name: "multiple-choice",
  summary: "the likeliest of some choices",
  takes: "tokens",
  reads: "own",
  scoring: {
    by: "choices",
    metrics: Object.keys(WORTHS),
    load: (paths, { tokenizer }, options) => loadChoices(paths, tokenizer, options, "all"),
    chosen: likeliest,
  },
  suits: () => false, // a language model's head is for what comes next
  headFor: () => Promise.resolve(LM_HEAD),
  load: async (paths, { tokenizer }, options) => (await loadChoices(paths, tokenizer, options, "right")).data,
};

/** Number of the choice that is worth most; the first of those that tie. */
function likeliest(metric: string, { choices, first }: Question, logLikelihoods: Float64Array): number {
  const worth = WORTHS[metric];
  if (!worth) throw new RangeError(`Choices have no score "${metric}"`);
  const worths = choices.map((choice, i) => worth(logLikelihoods[first + i] as number, choice));
  return worths.indexOf(Math.max(...worths));
}
