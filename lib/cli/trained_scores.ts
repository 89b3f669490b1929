// SPDX-License-Identifier: Apache-2.0
/** What was learnt, scored on the evaluation data once a run has ended: told, and written down with it. */
import type { Dataset } from "../data/dataset.ts";
import { type Evaluation, scoreTask } from "../evaluate/task_scores.ts";
import type { Task } from "../tasks/task.ts";
import type { OpenModel } from "../train/open_model.ts";
import type { Run } from "../train/plan.ts";
import { recordEvaluation } from "../train/run_record.ts";
import { dataOptions } from "./flags/data.ts";
import type { FlagValues } from "./flags/flags.ts";
import { warn } from "./output.ts";
import type { TrainingAccount } from "./training.ts";

/** What is scored on what. */
export interface ScoredRun {
  readonly model: OpenModel;
  readonly run: Run;
  readonly evalData: Dataset | null;
  readonly task: Task;
  readonly values: FlagValues;
}

/** Scores what a run has learnt, and writes that into its `run.json`; null without evaluation data, or when interrupted. */
export async function scoreTrained(
  { model, run: { settings }, evalData, task, values }: ScoredRun,
  { params: adapter, interrupted, evalLoss }: TrainingAccount,
): Promise<Evaluation | null> {
  if (evalData === null || interrupted || adapter === null) return null;
  const choices = task.scoring.by === "choices"
    ? await task.scoring.load(values["eval-data"] as readonly string[], model, dataOptions(values))
    : null;
  const options = { adapter, microBatchSize: settings.batch.micro };
  const scores = await scoreTask(model, task, { data: evalData, choices }, options);
  const of = `${evalData.report.targets} ${evalData.labels === undefined ? "tokens" : "rows"}`;
  const evaluation = { loss: evalLoss, of, scores };
  await recordEvaluation(settings.out as string, evaluation).catch((error: Error) =>
    warn(`The scores are not in run.json: ${error.message}`)
  );
  return evaluation;
}
