// SPDX-License-Identifier: Apache-2.0
/** A study for people: an aligned table, and `report.html`, one self-contained page with all charts. */
import { join } from "node:path";
import type { Estimate } from "../evaluate/metrics.ts";
import type { CellResult } from "../study/results.ts";
import { groupBySeed, partsOf, type SeedGroup } from "../study/summary.ts";
import { writeTextAtomically } from "../files/write.ts";
import { type StudyChart, studyCharts } from "./ablation_charts.ts";
import { type Display, table } from "./display.ts";
import { formatBytes, formatCount, formatLoss, formatSeconds, formatShare } from "./format.ts";
import { figure, folded, htmlTable, type Markup, markup, type PageSection, renderPage } from "./html_page.ts";

/** `63.8 % (60.1 % to 67.5 %)`. */
export function formatEstimate({ mean, low, high }: Estimate): string {
  return `${formatShare(mean)} (${formatShare(low)} to ${formatShare(high)})`;
}

/** A row a configuration, below a head: means over its seeds. */
export function studyRows(results: readonly CellResult[]): string[][] {
  const groups = groupBySeed(results);
  const scoreNames = [...new Set(groups.flatMap(({ scores }) => Object.keys(scores)))];
  const head = ["cell", "seeds", ...scoreNames, "loss", "trained", "peak memory", "time", "tokens/s"];
  return [head, ...groups.map((group) => groupRow(group, scoreNames))];
}

function groupRow({ label, seeds, failed, scores, means }: SeedGroup, names: readonly string[]): string[] {
  const count = `${seeds.length}${failed > 0 ? `, ${failed} failed` : ""}`;
  if (means === null) return [label, count, ...names.map(() => "–"), ...Array(5).fill("–")];
  return [
    label,
    count,
    ...names.map((name) => formatEstimate(scores[name] as Estimate)),
    formatLoss(means.lossLast),
    formatCount(means.trainedParameters),
    formatBytes(means.peakBytes),
    formatSeconds(means.seconds),
    formatCount(means.tokensPerSecond),
  ];
}

/** The same for a notebook: a table of what is there so far. */
export function studyTable(results: readonly CellResult[]): Display {
  return table(studyRows(results));
}

/** Failed cells with their reasons, below a head; none when all went well. */
export function failureRows(results: readonly CellResult[]): string[][] {
  const failed = results.filter(({ status }) => status === "failed");
  if (failed.length === 0) return [];
  return [["failed cell", "reason"], ...failed.map(({ label, error }) => [label, error ?? ""])];
}

function cellRows(results: readonly CellResult[]): string[][] {
  const head = [
    ...["cell", "score", "last loss", "evaluation loss", "steps", "time", "tokens/s", "peak memory"],
    ...["active neurons", "a token fires", "dead neurons", "idle experts", "busiest expert"],
  ];
  return [
    head,
    ...results.flatMap(({ label, numbers }) => {
      if (numbers === null) return [];
      const { activity } = numbers;
      const [score] = Object.values(numbers.scores);
      return [[
        label,
        score ? formatEstimate(score) : "",
        formatLoss(numbers.lossLast),
        numbers.evalLoss === null ? "" : formatLoss(numbers.evalLoss),
        String(numbers.steps),
        formatSeconds(numbers.seconds),
        formatCount(numbers.tokensPerSecond),
        formatBytes(numbers.peakBytes),
        activity ? numbers.activeNeurons.toFixed(0) : "",
        activity ? activity.neuronsPerToken.toFixed(1) : "",
        activity ? formatShare(activity.deadNeurons) : "",
        activity ? formatShare(activity.idleExperts) : "",
        activity ? `${activity.loadImbalance.toFixed(1)} × the mean` : "",
      ]];
    }),
  ];
}

function partSection(part: string, charts: readonly StudyChart[], index: number): PageSection {
  const axes = [...new Set(charts.map(({ axis }) => axis))];
  const rows = axes.map((axis) => {
    const figures = charts.filter((chart) => chart.axis === axis).map(({ chart, title }) =>
      figure(chart, title)
    );
    return markup`<div class="figures">${figures}</div>`;
  });
  return { id: `part-${index + 1}`, heading: part, body: rows };
}

/** The page of a study. */
export function studyPage(results: readonly CellResult[], title: string): string {
  const charts = studyCharts(results);
  const parts = partsOf(groupBySeed(results));
  const drawn = parts.filter((part) => charts.some((chart) => chart.part === part));
  const failures = failureRows(results);
  const done = results.filter(({ status }) => status === "done").length;
  return renderPage({
    title,
    summary:
      `${done} of ${results.length} cells done. Points are means over seeds, bars 95 % intervals: Student's over ` +
      `seeds, or Wilson's over questions where there is one seed.`,
    sections: [
      ...(failures.length > 0 ? [{ id: "failures", heading: "Failures", body: htmlTable(failures) }] : []),
      ...drawn.map((part, i) => partSection(part, charts.filter((chart) => chart.part === part), i)),
      { id: "configurations", heading: "Configurations", body: htmlTable(studyRows(results)) },
      { id: "cells", heading: "Cells", body: cellsBody(results) },
    ],
  });
}

function cellsBody(results: readonly CellResult[]): Markup {
  return folded(
    "every cell, with what fired over the data it was scored on",
    htmlTable(cellRows(results)),
  );
}

/** Writes `report.html` into a study's folder. Returns its path. */
export async function writeStudyReport(out: string, results: readonly CellResult[]): Promise<string> {
  const path = join(out, "report.html");
  await writeTextAtomically(path, studyPage(results, `Study ${out}`));
  return path;
}
