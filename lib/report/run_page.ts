// SPDX-License-Identifier: Apache-2.0
/** The page of one run: curves, memory, experts, answers before and after, and every setting. */
import { basename, resolve } from "node:path";
import type { Json, JsonObject } from "../core/json.ts";
import { isJsonObject } from "../core/json.ts";
import { type Series, seriesChart, thinningNote } from "./chart.ts";
import { expertSection } from "./expert_section.ts";
import { formatBytes, formatCount, formatLoss, formatSeconds } from "./format.ts";
import {
  folded,
  htmlTable,
  legendFigure,
  type Markup,
  markup,
  type Page,
  type PageSection,
} from "./html_page.ts";
import { memorySection } from "./memory_section.ts";
import { type Charted, damageNote, type MetricsSummary } from "./metrics_summary.ts";
import type { Example, RunRecord } from "./run_record.ts";
import type { Evaluation } from "../evaluate/task_scores.ts";
import { scoreRows } from "./scores.ts";
import type { ThinSeries } from "./thin_series.ts";

/** The page of a run, as far as it has come. */
export function runPage(record: RunRecord): Page {
  const { folder, run, metrics: { summary: metrics }, expertLoad, examples } = record;
  const sections = [
    section("curves", "Loss and learning rate", [
      curve(metrics, "Loss", [["loss", "training"], ["evalLoss", "evaluation"]], "loss"),
      curve(metrics, "Learning rate", [["lr", "learning rate"]], "learning rate", { zero: true }),
      curve(metrics, "Gradient norm, before clipping", [["gradNorm", "norm"]], "norm", { zero: true }),
    ]),
    section("speed", "Time", [
      curve(metrics, "Tokens a second", [["tokensPerSecond", "tokens/s"]], "tokens/s", { zero: true }),
      curve(metrics, "Time of a step, by lane", LANES, "ms", { zero: true }),
    ]),
    scoreSection(run),
    memorySection(run, metrics),
    expertSection(expertLoad, [
      curve(metrics, "Neurons a layer", NEURONS, "neurons", { zero: true }),
    ]),
    exampleSection(examples),
    configSection(run),
  ];
  return {
    title: basename(resolve(folder)),
    summary: summaryOf(run, metrics),
    sections: sections.filter((found) => found !== null),
  };
}

const LANES = [["modelMs", "model"], ["adapterMs", "adapter"], ["optimizerMs", "optimizer"]] as const;
const NEURONS = [
  ["activeNeurons", "active in the step"],
  ["deadNeurons", "dead: silent for 100 steps, or since the start"],
] as const;

/** Metrics on the same axes; null when none of them was measured. */
function curve(
  { series: all }: MetricsSummary,
  title: string,
  names: readonly (readonly [Charted, string])[],
  unit: string,
  options: { readonly zero?: boolean } = {},
): Markup | null {
  const series: (Series & ThinSeries)[] = names
    .map(([key, name]) => ({ name, ...all[key] }))
    .filter(({ points }) => points.length > 0);
  if (series.length === 0) return null;
  const most = Math.max(...series.map(({ points }) => points.length));
  return legendFigure(
    seriesChart(series, { x: "step", y: unit }, { ...options, dots: most <= 60 }),
    title,
    series.map(({ name }) => name),
    thinningNote(series),
  );
}

function section(id: string, heading: string, figures: readonly (Markup | null)[]): PageSection | null {
  const shown = figures.filter((found) => found !== null);
  return shown.length === 0 ? null : { id, heading, body: markup`<div class="figures">${shown}</div>` };
}

/** The run in a few words: method, how far, how well, how fast. */
function summaryOf(run: JsonObject, metrics: MetricsSummary): Markup {
  const { first, last, evalLoss, peakBytes: peak } = metrics;
  const text = (value: Json | undefined) => typeof value === "string" ? value : "?";
  const base = isJsonObject(run.base) ? text(run.base.name) : "?";
  const trained = typeof run.trainedParameters === "number" ? formatCount(run.trainedParameters) : "?";
  const head = markup`<p>${text(run.method)} on ${base}, ${trained} parameters trained</p>`;
  if (first === null || last === null) return markup`${head}<p>No step has ended yet.</p>`;
  const total = last.totalSteps ?? last.step;
  const facts = [
    last.step < total ? `step ${last.step} of ${total}` : `${total} steps`,
    `loss ${formatLoss(first.loss ?? NaN)} to ${formatLoss(last.loss ?? NaN)}`,
    ...(evalLoss === null ? [] : [`evaluation loss ${formatLoss(evalLoss)}`]),
    `${formatCount(medianOf(metrics.series.tokensPerSecond))} tokens/s`,
    ...(peak === null
      ? []
      : [`${formatBytes(Object.values(peak).reduce((a, b) => a + b, 0))} of host memory`]),
    ...(first.time !== null && last.time !== null
      ? [`${formatSeconds(last.time - first.time)} since the first step`]
      : []),
  ];
  const damage = damageNote(metrics);
  return markup`${head}<p>${facts.join(" · ")}</p>${damage === null ? "" : markup`<p>${damage}.</p>`}`;
}

/** Of a long line, the median of its means. */
function medianOf({ points }: ThinSeries): number {
  const values = points.map(({ y }) => y).sort((a, b) => a - b);
  return values[Math.floor(values.length / 2)] ?? NaN;
}

/** What was learnt, on the evaluation data, once the run has ended. */
function scoreSection({ evaluation }: JsonObject): PageSection | null {
  if (!isJsonObject(evaluation) || !isJsonObject(evaluation.scores)) return null;
  if (Object.keys(evaluation.scores).length === 0) return null;
  const rows = scoreRows(evaluation as unknown as Evaluation);
  return { id: "scores", heading: "Scores on the evaluation data", body: htmlTable(rows) };
}

function exampleSection(examples: readonly Example[]): PageSection | null {
  if (examples.length === 0) return null;
  const rows = examples.map(({ prompt, expected, before, after }) => [
    prompt,
    expected.join(" / "),
    before,
    after ?? "the run has not ended",
  ]);
  return {
    id: "examples",
    heading: "Answers before and after",
    body: htmlTable([["prompt", "expected", "before training", "after training"], ...rows]),
  };
}

/** Every setting as a table, and `run.json` itself for those who copy. */
function configSection(run: JsonObject): PageSection {
  const { identity, settings, data } = run;
  const rows = [identity, settings].flatMap((part) => part === undefined ? [] : leaves(part, ""));
  const unique = [...new Map(rows)].map(([name, value]) => [name, value]);
  const account = data === undefined ? [] : leaves(data, "data.");
  return {
    id: "config",
    heading: "Settings",
    body: [
      htmlTable([["setting", "value"], ...unique, ...account]),
      folded("run.json", markup`<pre>${JSON.stringify(run, null, 2)}</pre>`),
    ],
  };
}

/** `["optimizer.schedule.kind", "linear"]` for every value inside a value. */
function leaves(value: Json, path: string): [string, string][] {
  if (!isJsonObject(value)) {
    return [[path.replace(/\.$/, ""), Array.isArray(value) ? value.join(", ") : String(value)]];
  }
  return Object.entries(value).flatMap(([name, inner]) => leaves(inner as Json, `${path}${name}.`));
}
