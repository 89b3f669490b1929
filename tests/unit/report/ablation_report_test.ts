// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { type PlotChoice, plotStudy, studyCharts } from "../../../lib/report/ablation_charts.ts";
import { failureRows, studyPage, studyRows } from "../../../lib/report/ablation_report.ts";
import { intervalChart } from "../../../lib/report/interval_chart.ts";
import { liveStudy } from "../../../lib/report/live_study.ts";
import { writeResults } from "../../../lib/study/results.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { STUDY, studyCell } from "../../fixtures/study.ts";
import { type Figure, readChart, readPage } from "./page_reader.ts";

/** Colours of lines, by day. */
const COLORS = ["#2b6cb0", "#c2410c"];

/** Values of a chart's dots by its axes: where their ticks say they stand, on equal ratios if `log`. */
function valuesOf({ dots, xTicks, yTicks }: Figure, read: (text: string) => number, log = false): number[][] {
  const scale = (ticks: Figure["xTicks"], valueOf: (text: string) => number, log: boolean) => {
    const [first, last] = [ticks[0]!, ticks.at(-1)!];
    const ends = [valueOf(first.text), valueOf(last.text)].map((value) => log ? Math.log(value) : value);
    return (pixel: number) => {
      const value = ends[0]! + (pixel - first.at) / (last.at - first.at) * (ends[1]! - ends[0]!);
      return log ? Math.exp(value) : value;
    };
  };
  const [x, y] = [scale(xTicks, countOf, log), scale(yTicks, read, false)];
  return dots.map((dot) => [x(dot.x), y(dot.y)]);
}

/** `80 k` as 80000. */
function countOf(text: string): number {
  const [number = "", unit = ""] = text.split(" ");
  return Number(number) * ({ k: 1e3, M: 1e6 }[unit] ?? 1);
}

const percent = (text: string) => Number(text.replace(" %", "")) / 100;

function near(found: readonly number[][], expected: readonly number[][]): void {
  strictEqual(found.length, expected.length);
  found.flat().forEach((value, i) => {
    const wanted = expected.flat()[i] as number;
    ok(Math.abs(value - wanted) <= 1e-6 * Math.abs(wanted), `${value}, expected ${wanted}`);
  });
}

/** Bars of intervals that stand upright: x, then both ends, in pixels. */
function barsOf({ svg }: Figure): number[][] {
  return [...svg.querySelectorAll('[aria-label="rule"] line')].map((line) =>
    ["x1", "y1", "y2"].map((name) =>
      Number(line.getAttribute(name) ?? line.parentElement?.getAttribute(name))
    )
  );
}

Deno.test("intervalChart() draws means in the order of x on equal ratios, with their intervals and a legend", () => {
  const points = [[64, 0.5], [4, 0.25], [16, 0.75]].map(([x, y]) => ({
    x: x!,
    y: y!,
    low: y! - 0.1,
    high: y! + 0.2,
  }));
  const { svg } = intervalChart(
    [{ name: "one <b>", points }, { name: "two", points: [{ x: 4, y: 1 }] }],
    { x: "K", y: "score" },
    { domain: [0, 1], format: (value) => `${Math.round(value * 100)} %` },
  );
  const figure = readChart(svg);
  deepStrictEqual([figure.xLabel, figure.yLabel], ["K →", "↑ score"]);
  deepStrictEqual(figure.xTicks.map(({ text }) => text).sort(), ["16", "4", "64"]);
  deepStrictEqual([figure.yTicks[0]?.text, figure.yTicks.at(-1)?.text], ["0 %", "100 %"]);
  near(valuesOf(figure, percent, true), [[4, 0.25], [16, 0.75], [64, 0.5], [4, 1]]);
  deepStrictEqual(figure.dots.map(({ title }) => title), [
    ...[
      "one <b>, 4: 25 % (15 % to 45 %)",
      "one <b>, 16: 75 % (65 % to 95 %)",
      "one <b>, 64: 50 % (40 % to 70 %)",
    ],
    "two, 4: 100 %",
  ]);
  deepStrictEqual(figure.dots.map(({ fill }) => fill), [COLORS[0], COLORS[0], COLORS[0], COLORS[1]]);
  deepStrictEqual(figure.lines.map(({ stroke, corners }) => [stroke, corners.length]), [
    [COLORS[0], 3],
    [COLORS[1], 1],
  ]);
  const height = (share: number) => 224 + share * (20 - 224);
  near(
    barsOf(figure),
    [4, 16, 64].map((x, i) => {
      const y = [0.25, 0.75, 0.5][i] as number;
      return [
        figure.xTicks.find(({ text }) => text === String(x))?.at as number,
        height(y - 0.1),
        height(y + 0.2),
      ];
    }),
  );
  match(
    svg,
    new RegExp(
      `fill="${COLORS[0]}"/><text[^>]*>one &lt;b&gt;</text>.*fill="${COLORS[1]}"/><text[^>]*>two<`,
      "s",
    ),
  );
  const [single] = [intervalChart([{ name: "only", points }], { x: "K", y: "score" })];
  doesNotMatch(single.svg, />only</, "one line needs no legend");
});

Deno.test("intervalChart() puts names side by side, numbers of like size on equal steps from 0", () => {
  const names = readChart(
    intervalChart([{ name: "gate", points: [{ x: "raw", y: 1 }, { x: "none", y: 2 }] }], {
      x: "gate",
      y: "loss",
    }).svg,
  );
  deepStrictEqual(names.xTicks.map(({ text }) => text), ["raw", "none"]);
  ok(names.dots[0]!.x < names.dots[1]!.x);
  deepStrictEqual(names.yTicks.map(({ text }) => Number(text)).slice(0, 1), [0]);
  for (const [most, log] of [[79, false], [80, true]] as const) {
    const points = [10, 40, most].map((x) => ({ x, y: x }));
    const figure = readChart(intervalChart([{ name: "n", points }], { x: "r", y: "y" }).svg);
    const [a, b, c] = figure.dots.map(({ x }) => x) as [number, number, number];
    const place = (x: number) => log ? Math.log(x) : x;
    const expected = (place(40) - place(10)) / (place(most) - place(10));
    ok(Math.abs((b - a) / (c - a) - expected) <= 1e-6, `10 to ${most}`);
  }
});

Deno.test("intervalChart() says at every tick what stands there: fractions, large numbers, the last one of a ratio axis", () => {
  const ticks = (...xs: number[]) => {
    const points = xs.map((x) => ({ x, y: 1 }));
    const { xTicks } = readChart(intervalChart([{ name: "n", points }], { x: "x", y: "y" }).svg);
    return xTicks.toSorted((a, b) => a.at - b.at).map(({ text }) => text);
  };
  deepStrictEqual(ticks(1e-4, 3e-4, 1e-3, 1e-2), ["0.0001", "0.0003", "0.001", "0.01"]);
  deepStrictEqual(ticks(0, 0.05, 0.1), ["0", "0.05", "0.1"]);
  deepStrictEqual(ticks(5000, 80_000), ["5000", "80 k"]);
  deepStrictEqual(ticks(16, 64, 256, 1024, 4096), ["16", "64", "256", "1024", "4096"]);
  deepStrictEqual(ticks(100_000, 1_230_000, 20_000_000), ["100 k", "1.23 M", "20 M"]);
  strictEqual(ticks(1, 2, 3, 4, 5, 6, 7, 8).length, 8);
  ok(ticks(1, 2, 3, 4, 5, 6, 7, 8.5, 9).every((text) => text !== "8.5"), "many numbers have round ticks");
});

Deno.test("studyCharts() draws score, memory and time for every part and axis", () => {
  deepStrictEqual(studyCharts(STUDY).map(({ part, axis, title }) => [part, axis, title]), [
    ["k", "topK", "exact match by K, neurons a token may fire"],
    ["k", "topK", "peak memory by K, neurons a token may fire"],
    ["k", "topK", "training time by K, neurons a token may fire"],
    ["size", "trainedParameters", "exact match by trained parameters"],
    ["size", "trainedParameters", "peak memory by trained parameters"],
    ["size", "trainedParameters", "training time by trained parameters"],
  ]);
});

/** Two values of a learning rate with two seeds each; every number is unlike any other's. */
const RATES = [1, 2, 3, 4].map((i) => {
  const [lr, seed] = [i <= 2 ? 1e-4 : 1e-3, i % 2];
  const cell = studyCell(`r${i}`, { lr }, seed, 0.1 * i);
  return {
    ...cell,
    parts: [{ part: "rates", series: null, varied: ["lr", "seed"] }],
    numbers: {
      ...cell.numbers!,
      lossLast: 1 / i,
      evalLoss: i / 10,
      steps: 10 * i,
      seconds: 100 * i,
      tokensPerSecond: 1000 * i,
      peakBytes: i * 2 ** 30,
      trainedParameters: 50_000,
      activeNeurons: 40.4 + i,
      activity: {
        neuronsPerToken: 3 + i / 10,
        deadNeurons: i / 100,
        idleExperts: i / 50,
        loadImbalance: 1 + i / 4,
      },
    },
  };
});

Deno.test("a study's page draws the means over seeds where they are: score with its interval, memory, time", () => {
  const page = readPage(studyPage(RATES, "Rates"));
  deepStrictEqual([page.title, page.heading], ["Rates", "Rates"]);
  deepStrictEqual(page.summary, [
    "4 of 4 cells done. Points are means over seeds, bars 95 % intervals: Student's over seeds, or Wilson's over " +
    "questions where there is one seed.",
  ]);
  deepStrictEqual(Object.entries(page.sections).map(([id, { heading }]) => [id, heading]), [
    ["part-1", "rates"],
    ["configurations", "Configurations"],
    ["cells", "Cells"],
  ]);
  const { figures = [] } = page.sections["part-1"] ?? {};
  deepStrictEqual(figures.map(({ title }) => title), [
    ...["exact match by learning rate", "peak memory by learning rate", "training time by learning rate"],
  ]);
  deepStrictEqual(figures.map(({ xLabel, yLabel }) => [xLabel, yLabel]), [
    ["learning rate →", "↑ exact match"],
    ["learning rate →", "↑ peak memory"],
    ["learning rate →", "↑ training time"],
  ]);
  const [score, memory, time] = figures as [Figure, Figure, Figure];
  near(valuesOf(score, percent, true), [[1e-4, 0.15], [1e-3, 0.35]]);
  strictEqual(score.yTicks.at(-1)?.text, "100 %", "a share is seen against all of it");
  deepStrictEqual(memory.yTicks.map(({ text }) => text), [
    ...["0 B", "512.00 MiB", "1.00 GiB", "1.50 GiB", "2.00 GiB", "2.50 GiB", "3.00 GiB", "3.50 GiB"],
  ]);
  // Two seeds 0.1 apart: 12.706 * 0.05 to both sides, cut to [0, 1].
  deepStrictEqual(score.dots.map(({ title }) => title), [
    "sparse, 0.0001: 15 % (0 % to 79 %)",
    "sparse, 0.001: 35 % (0 % to 99 %)",
  ]);
  const gib = (text: string) => {
    const [number, unit] = text.split(" ");
    return Number(number) / ({ B: 2 ** 30, KiB: 2 ** 20, MiB: 2 ** 10 }[unit as string] ?? 1);
  };
  near(valuesOf(memory, gib, true).map(([x, y]) => [x!, Math.round(y! * 100) / 100]), [[1e-4, 1.5], [
    1e-3,
    3.5,
  ]]);
  deepStrictEqual(memory.dots.map(({ title }) => title), [
    "sparse, 0.0001: 1.50 GiB",
    "sparse, 0.001: 3.50 GiB",
  ]);
  deepStrictEqual(time.dots.map(({ title }) => title), [
    "sparse, 0.0001: 2 min 30 s",
    "sparse, 0.001: 5 min 50 s",
  ]);
  for (const figure of figures) {
    ok(figure.dots[1]!.y < figure.dots[0]!.y, "more stands higher");
    match(figure.yTicks[0]?.text ?? "", /^0(\.0)? /, "the axis begins at 0");
    deepStrictEqual(figure.lines.map(({ stroke, corners }) => [stroke, corners.length]), [[COLORS[0], 2]]);
  }
  strictEqual(barsOf(score).filter(([x]) => x === score.dots[0]!.x).length, 1);
});

Deno.test("a study's page has every number of its cells and of their means in its own column", () => {
  const failed = { ...RATES[3]!, status: "failed" as const, numbers: null, error: "<out> of memory" };
  const page = readPage(studyPage([...RATES.slice(0, 3), failed], "Rates"));
  match(page.summary.join(), /^3 of 4 cells done/);
  deepStrictEqual(page.sections["failures"]?.tables, [[
    ["failed cell", "reason"],
    ["lr=0.001 seed=0", "<out> of memory"],
  ]]);
  deepStrictEqual(page.sections["configurations"]?.tables, [[
    ["cell", "seeds", "exact-match", "loss", "trained", "peak memory", "time", "tokens/s"],
    ["lr=0.0001", "2", "15.0 % (0.0 % to 78.5 %)", "0.7500", "50.0 k", "1.50 GiB", "2 min 30 s", "1500"],
    [
      "lr=0.001",
      "2, 1 failed",
      "30.0 % (25.0 % to 35.0 %)",
      "0.3333",
      "50.0 k",
      "3.00 GiB",
      "5 min 00 s",
      "3000",
    ],
  ]]);
  deepStrictEqual(page.sections["cells"]?.tables, [[
    [
      ...["cell", "score", "last loss", "evaluation loss", "steps", "time", "tokens/s", "peak memory"],
      ...["active neurons", "a token fires", "dead neurons", "idle experts", "busiest expert"],
    ],
    ...[1, 2, 3].map((i) => [
      `lr=${i <= 2 ? "0.0001" : "0.001"} seed=${i % 2}`,
      `${10 * i}.0 % (${10 * i - 5}.0 % to ${10 * i + 5}.0 %)`,
      ["1.0000", "0.5000", "0.3333"][i - 1],
      `0.${i}000`,
      `${10 * i}`,
      ["1 min 40 s", "3 min 20 s", "5 min 00 s"][i - 1],
      `${1000 * i}`,
      `${i}.00 GiB`,
      ["41", "42", "43"][i - 1],
      `3.${i}`,
      `${i}.0 %`,
      `${2 * i}.0 %`,
      ["1.3", "1.5", "1.8"][i - 1] + " × the mean",
    ]),
  ]]);
  const [, row] = studyRows([failed]);
  deepStrictEqual(
    row,
    ["lr=0.001", "1, 1 failed", "–", "–", "–", "–", "–"],
    "nothing is known of what failed",
  );
});

Deno.test("plotStudy() draws what is asked for, from a folder as from results", () =>
  withFolder(async (folder) => {
    await writeResults(folder, STUDY);
    const choice = { x: "topK", y: "loss", part: "k" } as const;
    const chart = await plotStudy(folder, choice);
    strictEqual(chart.svg, (await plotStudy(STUDY, choice)).svg);
    const drawn = async (choice: PlotChoice) => readChart((await plotStudy(STUDY, choice)).svg);
    const titles = async (choice: PlotChoice) => (await drawn(choice)).dots.map(({ title }) => title);
    deepStrictEqual(await titles(choice), ["sparse, 4: 0.750", "sparse, 16: 0.400"]);
    deepStrictEqual(await titles({ x: "topK", y: "memory" }), [
      "sparse, 4: 1.00 MiB",
      "sparse, 16: 1.00 MiB",
    ]);
    deepStrictEqual(await titles({ x: "topK", y: "time" }), ["sparse, 4: 2.0 s", "sparse, 16: 2.0 s"]);
    const scored = ["sparse, 4: 25 % (0 % to 89 %)", "sparse, 16: 60 % (55 % to 65 %)"];
    deepStrictEqual(await titles({ x: "topK" }), scored);
    deepStrictEqual(await titles({ x: "topK", y: "exact-match" }), scored);
    deepStrictEqual(await titles({ x: "topK", y: "f1" }), []);
    const size = { x: "trainedParameters", y: "loss", part: "size" } as const;
    deepStrictEqual(await titles(size), ["ours, 80000: 0.400", "lora, 5000: 0.900"]);
    strictEqual((await drawn(choice)).yLabel, "↑ loss of the last step");
    match((await plotStudy(STUDY, { x: "topK", series: "method" })).text, /method sparse/);
    deepStrictEqual((await drawn({ x: "topK" })).yTicks[0]?.text, "0 %");
    const correlation = { mean: 0.1, low: -0.3, high: 0.5, count: 20 };
    const correlated = STUDY.map((cell) => ({
      ...cell,
      numbers: { ...cell.numbers!, scores: { matthews: correlation } },
    }));
    const { yTicks } = readChart((await plotStudy(correlated, { x: "topK" })).svg);
    deepStrictEqual([yTicks[0]?.text, yTicks.at(-1)?.text], ["-100 %", "100 %"]);
    const unscored = STUDY.map((cell) => ({ ...cell, numbers: { ...cell.numbers!, scores: {} } }));
    strictEqual(readChart((await plotStudy(unscored, { x: "topK" })).svg).yLabel, "↑ loss of the last step");
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
