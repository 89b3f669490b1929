// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { plotStudy, studyCharts } from "../../../lib/report/ablation_charts.ts";
import { failureRows, studyPage, studyRows } from "../../../lib/report/ablation_report.ts";
import { intervalChart } from "../../../lib/report/interval_chart.ts";
import { liveStudy } from "../../../lib/report/live_study.ts";
import { writeResults } from "../../../lib/study/results.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { STUDY, studyCell } from "../../fixtures/study.ts";

type Pair = [x: number, y: number];

/** Centres of all dots, in pixels. */
function dots(svg: string): Pair[] {
  return [...svg.matchAll(/<circle [^>]*>/g)].map(([tag]) => [attribute(tag, "cx"), attribute(tag, "cy")]);
}

/** A number of an element's tag. */
function attribute(tag: string, name: string): number {
  return Number(new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1] ?? NaN);
}

Deno.test("intervalChart() draws means in the order of x on equal ratios, with their intervals and a legend", () => {
  const points = [[64, 0.5], [4, 0.25], [16, 0.75]].map(([x, y]) => ({
    x: x!,
    y: y!,
    low: y! - 0.1,
    high: y! + 0.1,
  }));
  const { svg } = intervalChart(
    [{ name: "one <b>", points }, { name: "two", points: [{ x: 4, y: 1 }] }],
    { x: "K", y: "score" },
    { domain: [0, 1] },
  );
  const [[x1, y1], [x2, y2], [x3, y3], [x4, y4]] = dots(svg) as [Pair, Pair, Pair, Pair];
  ok(Math.abs(2 * x2 - x1 - x3) <= 1e-6, "4, 16 and 64 are equally far apart");
  ok(y2 < y3 && y3 < y1 && y4 < y2 && x4 === x1, "larger means stand higher");
  ok(Math.abs(2 * y3 - y1 - y2) <= 1e-6, "0.5 is half way from 0.25 to 0.75");
  const bars = [...svg.matchAll(/<line [^>]*>/g)].map(([tag]) => tag).filter((tag) =>
    attribute(tag, "x1") === x1 && attribute(tag, "x2") === x1 &&
    Math.abs((attribute(tag, "y1") + attribute(tag, "y2")) / 2 - y1) <= 1e-6
  );
  strictEqual(bars.length, 1, "the bar of the first mean lies around it");
  ok(Math.abs(attribute(bars[0]!, "y1") - attribute(bars[0]!, "y2")) > 10);
  match(svg, /one &lt;b&gt;.*two/s);
});

Deno.test("intervalChart() puts names side by side", () => {
  const { svg } = intervalChart([{ name: "gate", points: [{ x: "raw", y: 1 }, { x: "none", y: 2 }] }], {
    x: "gate",
    y: "loss",
  });
  const [[x1], [x2]] = dots(svg) as [Pair, Pair];
  ok(x1 < x2);
  match(svg, />raw<.*>none</s);
});

Deno.test("studyCharts() draws score, memory and time for every part and axis", () => {
  deepStrictEqual(studyCharts(STUDY).map(({ part, axis, title }) => [part, axis, title.split(" by ")[0]]), [
    ["k", "topK", "exact match"],
    ["k", "topK", "peak memory"],
    ["k", "topK", "training time"],
    ["size", "trainedParameters", "exact match"],
    ["size", "trainedParameters", "peak memory"],
    ["size", "trainedParameters", "training time"],
  ]);
});

Deno.test("plotStudy() draws what is asked for, from a folder as from results", () =>
  withFolder(async (folder) => {
    await writeResults(folder, STUDY);
    const choice = { x: "topK", y: "loss", part: "k" } as const;
    const chart = await plotStudy(folder, choice);
    strictEqual(chart.svg, (await plotStudy(STUDY, choice)).svg);
    strictEqual(dots(chart.svg).length, 2);
    match((await plotStudy(STUDY, { x: "topK", series: "method" })).text, /method sparse/);
  }));

Deno.test("studyPage() is one page with all charts, tables and failures, that loads nothing", () => {
  const failed = {
    ...studyCell("f", { topK: 64 }, 1, 0),
    status: "failed" as const,
    numbers: null,
    error: "<out> of memory",
  };
  const page = studyPage([...STUDY, failed], "Study");
  strictEqual(page.match(/<figure>/g)?.length, 6);
  match(page, /4 of 5 cells done/);
  match(page, /&lt;out&gt; of memory/);
  match(page, /25\.0 % \(0\.0 % to 88\.5 %\)/);
  doesNotMatch(page, /(src|href)="(?!data:|#)/);
  doesNotMatch(page, /@import|url\((?!data:)/);
});

Deno.test("studyRows() has a row a configuration, and failureRows() the reasons", () => {
  const rows = studyRows(STUDY);
  strictEqual(rows.length, 4);
  deepStrictEqual(rows[1]?.slice(0, 3), ["topK=4", "2", "25.0 % (0.0 % to 88.5 %)"]);
  deepStrictEqual(failureRows(STUDY), []);
});

Deno.test("liveStudy() redraws with each cell that finishes", async () => {
  const shown: number[] = [];
  const redraw = (display: { readonly text: string }) =>
    Promise.resolve(void shown.push(display.text.length));
  const chart = liveStudy({ x: "topK" }, { redraw });
  for (const cell of STUDY.slice(0, 3)) await chart.push(cell);
  strictEqual(shown.length, 3);
  deepStrictEqual(chart.cells, STUDY.slice(0, 3));
  strictEqual((await chart.draw()).svg, (await plotStudy(STUDY.slice(0, 3), { x: "topK" })).svg);
});
