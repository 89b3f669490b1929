// SPDX-License-Identifier: Apache-2.0
/** `deno task evaluate`: scores a model, with or without an adapter. */
import { UserError } from "../../core/errors.ts";
import { choices, integer, texts } from "../../core/options.ts";
import { DATA_OPTIONS } from "../../data/data_options.ts";
import { yieldToEvents } from "../../core/event_loop.ts";
import { stopIds } from "../../data/examples.ts";
import type { Prompt } from "../../data/prompt_reader.ts";
import { type Dataset, firstRows, type ReadReport } from "../../data/dataset.ts";
import { checkPairOptions, metricsOf as taskMetrics, usualMetrics } from "../../tasks/task.ts";
import { TASK_METRICS } from "../../tasks/registry.ts";
import type { Placed } from "../../data/load_data.ts";
import { formatPlace } from "../../data/rows.ts";
import { ANSWER_OPTIONS } from "../../evaluate/answer_options.ts";
import { answerStart } from "../../evaluate/answer_start.ts";
import { BEAM_OPTIONS } from "../../evaluate/beams.ts";
import { datasetLoss } from "../../evaluate/loss.ts";
import {
  loadPrompts,
  type RowScore,
  SCORE_NAMES,
  type ScoreName,
  scoreRows,
  summarizeScores,
} from "../../evaluate/score.ts";
import { RULE_OPTIONS } from "../../evaluate/token_rules.ts";
import { formatLoss, formatShare } from "../../report/format.ts";
import { createProgress } from "../../report/progress.ts";
import { formatTable } from "../../report/table.ts";
import { ADAPTER_SESSION_OPTIONS, type AdapterSession, openAdapterSession } from "../adapter_session.ts";
import { dataSummary, rowCounts, rowsResult } from "../data_summary.ts";
import { dataOptions, dataPaths } from "../flags/data.ts";
import { createDataLoader } from "../data_loader.ts";
import { flagsOf, type FlagValues, valuesOf } from "../flags/flags.ts";
import { formatProblems } from "../flags/format.ts";
import type { Output } from "../output.ts";
import { PREDICTIONS_OPTION, predictionsProblems, writePredictions } from "../predictions.ts";
import { evaluateByChoices, evaluateByOutputs } from "../task_scores.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";

const METRICS: readonly string[] = ["loss", ...SCORE_NAMES, ...TASK_METRICS];

/** How answers are generated where they are scored. */
const GENERATED = { maxNewTokens: ANSWER_OPTIONS.maxNewTokens, ...BEAM_OPTIONS, ...RULE_OPTIONS } as const;

const OPTIONS = {
  ...ADAPTER_SESSION_OPTIONS,
  ...DATA_OPTIONS,
  metric: choices(METRICS, {
    help: "what is measured",
    defaultText: "loss, and all scores of a task with a head of its own",
  }),
  limit: integer({ min: 1, help: "rows to score, from the first", defaultText: "all" }),
  ...GENERATED,
  microBatchSize: integer({ min: 1, help: "rows computed at once", defaultText: "8; answers 16" }),
  stop: texts({ help: "texts that end an answer" }),
  ...PREDICTIONS_OPTION,
} as const;

/** What the metrics need of the data files, read before anything is computed; null what none of them needs. */
interface EvaluationData {
  readonly dataset: Dataset | null;
  readonly prompts: readonly Placed<Prompt>[];
  /** Of the prompts. */
  readonly report: ReadReport | null;
}

async function readData(
  { model, base, task }: AdapterSession,
  metrics: readonly string[],
  values: FlagValues,
  output: Output,
): Promise<EvaluationData> {
  const [paths, options, scores] = [dataPaths(values), dataOptions(values), scoreNames(metrics)];
  const limit = (values.limit ?? Infinity) as number;
  const dataset = metrics.includes("loss")
    ? firstRows(
      await createDataLoader(values, output, task)(paths, base),
      limit,
    )
    : null;
  if (scores.length === 0) return { dataset, prompts: [], report: null };
  const room = model.config.maxPositionEmbeddings;
  const reader = task.prompts && { reader: task.prompts };
  const { items, report } = await loadPrompts(paths, base.tokenizer, { ...options, ...reader, room, scores });
  const prompts = items.slice(0, limit);
  return { dataset, prompts, report: { ...report, rowsUsed: prompts.length } };
}

function scoreNames(metrics: readonly string[]): ScoreName[] {
  return SCORE_NAMES.filter((name) => metrics.includes(name));
}

/** What is measured: what was asked for, or what the task has. @throws {UserError} When the task has no such score */
function metricsOf({ base, task: { name, scoring } }: AdapterSession, values: FlagValues): string[] {
  const own = taskMetrics(scoring, SCORE_NAMES);
  const told = usualMetrics(scoring, SCORE_NAMES, base.config.head);
  const usual = scoring.by === "choices" ? told : scoring.by === "outputs" ? ["loss", ...told] : ["loss"];
  const metrics = [...new Set((values.metric ?? usual) as readonly string[])];
  const foreign = metrics.find((metric) => metric !== "loss" && !own.includes(metric));
  if (foreign === undefined) return metrics;
  throw new UserError(
    `--metric ${foreign} is no score of ${name}, which has: ${["loss", ...own].join(", ")}`,
  );
}

async function measureLoss(session: AdapterSession, data: Dataset, values: FlagValues, output: Output) {
  output.line(dataSummary(data));
  const progress = createProgress(output, "loss", data.report.rowsUsed);
  const result = await datasetLoss(session.model, data, {
    hooks: session.hooks,
    adapter: session.adapter,
    microBatchSize: (values["micro-batch-size"] ?? 8) as number,
    onProgress: (done) => progress.update(done, ""),
  });
  progress.finish();
  return result;
}

async function measureScores(
  { model, hooks, adapter, tokenizer }: AdapterSession,
  { prompts, report }: EvaluationData,
  names: readonly ScoreName[],
  values: FlagValues,
  output: Output,
): Promise<RowScore[]> {
  output.line(formatTable([["questions", "count"], ...rowCounts(report as ReadReport)]));
  const progress = createProgress(output, "answering", prompts.length);
  const rows: RowScore[] = [];
  const answers = scoreRows(model, tokenizer, prompts, names, {
    hooks,
    adapter,
    ...valuesOf(GENERATED, values),
    sequences: (values["micro-batch-size"] ?? 16) as number,
    stopIds: await stopIds(tokenizer, model.config.eosTokenIds, dataOptions(values)),
    ...answerStart(model.config, tokenizer, dataOptions(values)),
    ...(values.stop === undefined ? {} : { stopStrings: values.stop as string[] }),
  });
  for await (const row of answers) {
    rows.push(row);
    progress.update(rows.length, row.prediction.slice(0, 32));
    await yieldToEvents();
  }
  progress.finish();
  const order = new Map(prompts.map(({ place }, i) => [formatPlace(place), i]));
  const orderOf = ({ place }: RowScore) => order.get(formatPlace(place)) as number;
  return rows.sort((a, b) => orderOf(a) - orderOf(b));
}

function check(values: FlagValues): string[] {
  return [...formatProblems(values), ...predictionsProblems(values)];
}

async function run(values: FlagValues, output: Output): Promise<number> {
  using session = await openAdapterSession(values);
  checkPairOptions(session.task, dataOptions(values));
  const metrics = metricsOf(session, values);
  const { scoring } = session.task;
  if (scoring.by === "outputs") return await evaluateByOutputs(session, scoring, metrics, values, output);
  if (scoring.by === "choices") return await evaluateByChoices(session, scoring, metrics, values, output);
  const names = scoreNames(metrics);
  if (values.predictions !== undefined && names.length === 0) {
    throw new UserError(`--predictions needs a metric of answers: --metric ${SCORE_NAMES.join(", ")}`);
  }
  const data = await readData(session, metrics, values, output);
  const loss = data.dataset && await measureLoss(session, data.dataset, values, output);
  const rows = names.length > 0 ? await measureScores(session, data, names, values, output) : [];
  const scores = summarizeScores(rows, names);
  const table = [["metric", "value", "95 % interval", "of"]];
  if (loss) {
    table.push(["loss", formatLoss(loss.loss), "", `${loss.targets} tokens`]);
    table.push(["perplexity", loss.perplexity.toPrecision(5), "", `${loss.targets} tokens`]);
  }
  for (const [name, { mean, low, high, count }] of scores) {
    table.push([name, formatShare(mean), `${formatShare(low)} to ${formatShare(high)}`, `${count} rows`]);
  }
  output.line(formatTable(table));
  if (typeof values.predictions === "string") {
    await writePredictions(values.predictions, rows);
    output.line(`answers in ${values.predictions}`);
  }
  output.result({
    ...(loss ?? {}),
    scores: Object.fromEntries(scores),
    ...(data.dataset && { data: rowsResult(data.dataset.report) }),
    ...(data.report && { questions: rowsResult(data.report) }),
  });
  return EXIT.done;
}

/** The command. */
export const EVALUATE: CommandSpec = {
  name: "evaluate",
  summary:
    "Scores a model, with or without an adapter: loss and perplexity, exact match, F1, GSM8K answers; classes and values.",
  examples: [
    "deno task evaluate --model checkpoints/llama --adapter runs/facts/adapter --data facts.jsonl --metric exact-match f1",
    "deno task evaluate --model checkpoints/llama --data gsm8k.jsonl --metric gsm8k-strict --limit 200 --predictions answers.jsonl",
  ],
  flags: flagsOf(OPTIONS),
  check,
  run,
};
