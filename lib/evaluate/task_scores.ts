// SPDX-License-Identifier: Apache-2.0
/** Scores that a task takes of its own head: of what that gives for each row, or of the likeliest of some choices. */
import { attachAdapter } from "../adapters/attach.ts";
import type { Dataset, ExampleLabels } from "../data/dataset.ts";
import type { Model } from "../models/model.ts";
import type { ChoiceSet } from "../tasks/choice_data.ts";
import { type Task, usualMetrics } from "../tasks/task.ts";
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

/** What is scored: rows, or questions with all their choices where a task is scored by them (`Scoring.load`). */
export interface ScoredData {
  readonly data: Dataset;
  /** Default null. */
  readonly choices?: ChoiceSet | null;
}

/** Choices of {@linkcode scoreTask}. */
export interface ScoreTaskOptions extends Omit<DatasetLossOptions, "hooks"> {
  /** Scores of the task. Default: all that say something of the model's head. */
  readonly metrics?: readonly string[];
}

/**
 * Scores that a task takes of its own head: what that gives for each row, or the likeliest of some choices. None of a task
 * that is scored by its loss, or by answers that are generated.
 *
 * @param model Opened with the head of the task     @param options `adapter`: what was learnt, in its place
 * @throws {NotFiniteError} When an output is not finite: names the rows, and the first tensor that is not finite either
 *
 * @example
 * ```ts ignore
 * const { task, head } = await meft.openTask({ task: "classification", model: "checkpoints/bert", data: ["texts"] });
 * using model = await meft.loadModel("checkpoints/bert", { head });
 * const training = meft.train(run, await task.load(["texts"], model, {}));
 * for await (const { step, loss } of training) console.log(step, loss);
 * const test = await task.load(["test"], model, {});
 * const { accuracy } = await meft.scoreTask(model, task, { data: test }, { adapter: training.adapter });
 * ```
 */
export async function scoreTask(
  model: Model,
  { scoring }: Task,
  { data, choices = null }: ScoredData,
  { metrics, adapter = null, ...options }: ScoreTaskOptions = {},
): Promise<Scores> {
  if (scoring.by !== "outputs" && scoring.by !== "choices") return {};
  const names = metrics ?? usualMetrics(scoring, [], model.config.head);
  if (names.length === 0) return {};
  const { model: trained, hooks } = attachAdapter(model, adapter);
  const how = { ...options, adapter, hooks };
  if (scoring.by === "outputs") {
    const { outputs } = await datasetOutputs(trained, data, how);
    return Object.fromEntries(estimateScores(scoring, names, data.labels as ExampleLabels, outputs));
  }
  if (choices === null) return {};
  const found = await choiceLikelihoods(trained, choices, how);
  return Object.fromEntries(estimateChoices(scoring, names, choices, found));
}
