// SPDX-License-Identifier: Apache-2.0
/** Scores that a task takes of its own head: of what that gives for each row, or of the likeliest of some choices. */
import type { Dataset, ExampleLabels } from "../data/dataset.ts";
import type { Model } from "../models/model.ts";
import type { ChoiceSet } from "../tasks/choice_data.ts";
import type { Scoring } from "../tasks/task.ts";
import { choiceLikelihoods, estimateChoices } from "./choices.ts";
import type { DatasetLossOptions } from "./loss.ts";
import type { Estimate } from "./metrics.ts";
import { datasetOutputs, estimateScores } from "./outputs.ts";

/** Scores by name, each with how sure it is. */
export type Scores = Readonly<Record<string, Estimate>>;

/** What is said of a model on data. */
export interface Evaluation {
  /** Null where it was not measured. */
  readonly loss: number | null;
  /** What the loss is a mean of: `400 rows`. */
  readonly of: string;
  /** None of a task that is scored by its loss alone, or by answers that have to be generated. */
  readonly scores: Scores;
}

/** What is scored: labelled rows, or questions with all their choices. */
export interface ScoredData {
  readonly data: Dataset;
  /** Null unless the task is scored by them. */
  readonly choices: ChoiceSet | null;
}

/**
 * Scores of a model's head. None of a task that is scored by its loss, or by answers that are generated.
 *
 * @param names Scores of the task
 * @throws {NotFiniteError} When an output is not finite: names the rows, and the first tensor that is not finite either
 */
export async function scoreHead(
  model: Model,
  scoring: Scoring,
  names: readonly string[],
  { data, choices }: ScoredData,
  options: DatasetLossOptions = {},
): Promise<Scores> {
  if (names.length === 0) return {};
  if (scoring.by === "outputs") {
    const { outputs } = await datasetOutputs(model, data, options);
    return Object.fromEntries(estimateScores(scoring, names, data.labels as ExampleLabels, outputs));
  }
  if (scoring.by !== "choices" || choices === null) return {};
  const found = await choiceLikelihoods(model, choices, options);
  return Object.fromEntries(estimateChoices(scoring, names, choices, found));
}
