// SPDX-License-Identifier: Apache-2.0
/** Scores of tasks that answer with what the head gives, or with the likeliest of some choices; for `evaluate`. */
import { exampleCount, type ExampleLabels, examplePlace, firstRows } from "../data/dataset.ts";
import { labelText } from "../data/preview.ts";
import { choiceLikelihoods, type ChoiceScoring, estimateChoices } from "../evaluate/choices.ts";
import { datasetLoss } from "../evaluate/loss.ts";
import { datasetOutputs, estimateScores, type OutputScoring } from "../evaluate/outputs.ts";
import { createProgress } from "../report/progress.ts";
import { scoreRows } from "../report/scores.ts";
import { formatTable } from "../report/table.ts";
import type { AdapterSession } from "./adapter_session.ts";
import { createDataLoader } from "./data_loader.ts";
import { dataSummary, rowCounts, rowsResult } from "./data_summary.ts";
import { EXIT } from "./failure.ts";
import { dataOptions, dataPaths } from "./flags/data.ts";
import type { FlagValues } from "./flags/flags.ts";
import type { Output } from "./output.ts";
import { writePredictions } from "./predictions.ts";

/** Scores of what the head gives for each row. */
export async function evaluateByOutputs(
  { base, model, hooks, adapter, task }: AdapterSession,
  scoring: OutputScoring,
  metrics: readonly string[],
  values: FlagValues,
  output: Output,
): Promise<number> {
  const { head } = model.config;
  const all = await createDataLoader(values, output, task)(dataPaths(values), base);
  const data = firstRows(all, (values.limit ?? Infinity) as number);
  output.line(dataSummary(data));
  const progress = createProgress(output, task.name, data.report.rowsUsed);
  const found = await datasetOutputs(model, data, {
    hooks,
    adapter,
    microBatchSize: (values["micro-batch-size"] ?? 8) as number,
    onProgress: (done) => progress.update(done, ""),
  });
  progress.finish();
  const labels = data.labels as ExampleLabels;
  const scores = estimateScores(scoring, metrics.filter((name) => name !== "loss"), labels, found.outputs);
  const loss = metrics.includes("loss") ? found.loss : null;
  const of = `${found.targets} rows`;
  output.line(formatTable(scoreRows({ loss, of, scores: Object.fromEntries(scores) })));
  const { shape: [, cols = 0], data: outputs } = found.outputs;
  await keepPredictions(values, output, () =>
    Array.from({ length: exampleCount(data) }, (_, i) => {
      const own = outputs.slice(i * cols, (i + 1) * cols);
      return {
        place: examplePlace(data, i),
        prediction: scoring.predicted(own, head),
        label: labelText(labels, i),
        outputs: [...own],
      };
    }));
  const { loss: mean, targets, tokens } = found;
  output.result({
    task: task.name,
    ...(metrics.includes("loss") ? { loss: mean, targets, tokens } : {}),
    scores: Object.fromEntries(scores),
    data: rowsResult(data.report),
  });
  return EXIT.done;
}

/** Scores of the likeliest choice of each question; the loss is that of the right ones. */
export async function evaluateByChoices(
  { base, model, hooks, adapter, task }: AdapterSession,
  scoring: ChoiceScoring,
  metrics: readonly string[],
  values: FlagValues,
  output: Output,
): Promise<number> {
  const loaded = await scoring.load(dataPaths(values), base, dataOptions(values));
  const limit = (values.limit ?? Infinity) as number;
  const set = { data: firstRows(loaded.data, limit), questions: loaded.questions.slice(0, limit) };
  const report = { ...loaded.data.report, rowsUsed: set.questions.length };
  output.line(formatTable([["questions", "count"], ...rowCounts(report)]));
  const options = { hooks, adapter, microBatchSize: (values["micro-batch-size"] ?? 8) as number };
  const progress = createProgress(output, task.name, exampleCount(set.data));
  const found = await choiceLikelihoods(model, set, {
    ...options,
    onProgress: (done) => progress.update(done, ""),
  });
  progress.finish();
  const loss = metrics.includes("loss")
    ? await datasetLoss(
      model,
      await createDataLoader(values, output, task)(dataPaths(values), base),
      options,
    )
    : null;
  const scores = estimateChoices(scoring, metrics.filter((name) => name !== "loss"), set, found);
  const told = { loss: loss?.loss ?? null, of: `${loss?.targets} tokens` };
  output.line(formatTable(scoreRows({ ...told, scores: Object.fromEntries(scores) })));
  await keepPredictions(values, output, () =>
    set.questions.map((question) => ({
      place: question.place,
      answer: question.answer,
      chosen: Object.fromEntries(
        [...scores.keys()].map((name) => [name, scoring.chosen(name, question, found)]),
      ),
      logLikelihoods: [...found.subarray(question.first, question.first + question.choices.length)],
    })));
  output.result({
    task: task.name,
    ...(loss ?? {}),
    scores: Object.fromEntries(scores),
    data: rowsResult(report),
  });
  return EXIT.done;
}

/** Writes answers where the flag names a file for them. */
async function keepPredictions(
  { predictions: path }: FlagValues,
  output: Output,
  predictions: () => Parameters<typeof writePredictions>[1],
): Promise<void> {
  if (typeof path !== "string") return;
  await writePredictions(path, predictions());
  output.line(`predictions in ${path}`);
}
