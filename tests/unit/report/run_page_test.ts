// SPDX-License-Identifier: Apache-2.0
/** A run's page as its reader sees it: every number and every chart against the log, told anew from its lines. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { balance, loadCells } from "../../../lib/report/expert_section.ts";
import { writeRunReport } from "../../../lib/report/run_report.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { type Figure, type ReadPage, readPage, type Section } from "./page_reader.ts";

const MIB = 2 ** 20;
const TOTAL_STEPS = 40;
/** In the order of series: by day. */
const COLORS = ["#2b6cb0", "#c2410c", "#2f7d4f"];

type Line = Readonly<Record<string, number>> & { readonly step: number };

/** A line whose every number is unlike any other's, in its size too. */
function lineOf(step: number): Line {
  const wave = Math.sin(step * 1.7);
  return {
    step,
    totalSteps: TOTAL_STEPS,
    loss: 3 - step / 20 + wave / 10,
    ...(step % 5 === 0 && { evalLoss: 2 - step / 50 }),
    lr: 1e-3 * (1 - step / 50),
    gradNorm: 5 + 3 * wave,
    tokensPerSecond: 20_000 + Math.round(14_000 * wave),
    modelMs: 100 + step,
    adapterMs: 50 - step,
    optimizerMs: 20 + wave,
    activeNeurons: 700 + 10 * step,
    deadNeurons: 3 * step,
    heldBytes: (300 + step) * MIB,
    activationBytes: 7 * MIB,
    time: 1.7e9 + 3 * step * step,
  };
}

interface RunFiles {
  readonly lines: readonly object[];
  readonly run?: object;
  readonly examples?: readonly object[];
}

async function pageOf({ lines, run = {}, examples = [] }: RunFiles): Promise<ReadPage> {
  let page: ReadPage | null = null;
  await withFolder(async (folder) => {
    await Deno.mkdir(`${folder}/a run`);
    const write = (name: string, text: string) => Deno.writeTextFile(`${folder}/a run/${name}`, text);
    await write("run.json", JSON.stringify({ method: "sparse", base: { name: "models/tiny" }, ...run }));
    await write("metrics.jsonl", lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    await write("examples.json", JSON.stringify(examples));
    page = readPage(await Deno.readTextFile(await writeRunReport(`${folder}/a run`)));
  });
  return page as unknown as ReadPage;
}

function sectionOf(page: ReadPage, id: string): Section {
  const section = page.sections[id];
  if (section === undefined) throw new Error(`The page has no section ${id}`);
  return section;
}

function figureOf(section: Section, title: string): Figure {
  const found = section.figures.filter((figure) => figure.title === title);
  if (found.length !== 1) throw new Error(`${found.length} charts are called ${title}`);
  return found[0] as Figure;
}

/** What a chart of steps must show. */
interface Expected {
  readonly title: string;
  readonly unit: string;
  /** Names of lines, and the metric of each. */
  readonly series: readonly (readonly [name: string, metric: string])[];
  /** Of the metric, in one of the chart. */
  readonly divisor?: number;
  /** Where the axis starts; default 0. */
  readonly from?: number;
  readonly dots?: boolean;
}

const CHARTS: Readonly<Record<string, readonly Expected[]>> = {
  curves: [
    { title: "Loss", unit: "loss", series: [["training", "loss"], ["evaluation", "evalLoss"]], from: NaN },
    { title: "Learning rate", unit: "learning rate", series: [["learning rate", "lr"]] },
    { title: "Gradient norm, before clipping", unit: "norm", series: [["norm", "gradNorm"]] },
  ],
  speed: [
    { title: "Tokens a second", unit: "tokens/s", series: [["tokens/s", "tokensPerSecond"]] },
    {
      title: "Time of a step, by lane",
      unit: "ms",
      series: [["model", "modelMs"], ["adapter", "adapterMs"], ["optimizer", "optimizerMs"]],
    },
  ],
  memory: [{
    ...{ title: "Host memory held after a step", unit: "MiB", series: [["held", "heldBytes"]] },
    ...{ divisor: MIB, dots: false },
  }],
  experts: [{
    title: "Neurons a layer",
    unit: "neurons",
    series: [
      ["active in the step", "activeNeurons"],
      ["dead: silent for 100 steps, or since the start", "deadNeurons"],
    ],
  }],
};

/** Pixel of a value on an axis of first and last value, first and last pixel. */
function pixelOf(value: number, [v0 = NaN, v1 = NaN, p0 = NaN, p1 = NaN]: readonly number[]): number {
  return p0 + (value - v0) / (v1 - v0) * (p1 - p0);
}

/** @param scale Of what is compared: a thousandth of it is near */
function near(found: number, expected: number, what: string, scale = Math.abs(expected)): void {
  ok(Math.abs(found - expected) <= 1e-3 * scale, `${what}: ${found}, not ${expected}`);
}

/** Pixels of a chart's width. */
const WIDTH = 640;

/** A chart against the log. */
function checkFigure(figure: Figure, expected: Expected, lines: readonly Line[]): void {
  const { title, unit, series, divisor = 1, from = 0, dots = true } = expected;
  const points = series.map(([, metric]) =>
    lines.filter((line) => line[metric] !== undefined).map((line) =>
      [line.step, line[metric]! / divisor] as const
    )
  );
  deepStrictEqual([figure.xLabel, figure.yLabel, figure.xName], ["step →", `↑ ${unit}`, "step"], title);
  deepStrictEqual(figure.legend, series.length > 1 ? series.map(([name]) => name) : [], title);
  strictEqual(figure.note, "", title);
  deepStrictEqual(figure.series.map(({ name }) => name), series.map(([name]) => name), title);
  const values = points.flat().map(([, y]) => y);
  const steps = lines.map(({ step }) => step);
  const range = [Number.isNaN(from) ? Math.min(...values) : from, Math.max(...values)];
  deepStrictEqual(figure.xAxis.slice(0, 2), [steps[0], steps.at(-1)], `${title}: steps`);
  const most = range[1] as number;
  range.forEach((end, i) => near(figure.yAxis[i] as number, end, `${title}: end ${i} of the axis`, most));
  ok(figure.xAxis[2]! < figure.xAxis[3]! && figure.yAxis[2]! > figure.yAxis[3]!, `${title}: right and up`);
  deepStrictEqual(figure.lines.map(({ stroke }) => stroke), COLORS.slice(0, series.length), title);
  points.forEach((line, i) => {
    const { corners = [] } = figure.lines[i] ?? {};
    deepStrictEqual([corners.length, figure.series[i]?.points.length], [line.length, line.length], title);
    line.forEach(([x, y], at) => {
      near(figure.series[i]?.points[at]?.[0] as number, x, `${title}: step`);
      near(figure.series[i]?.points[at]?.[1] as number, y, `${title}: value of step ${x}`);
      near(corners[at]?.[0] as number, pixelOf(x, figure.xAxis), `${title}: place of step ${x}`, WIDTH);
      near(corners[at]?.[1] as number, pixelOf(y, figure.yAxis), `${title}: height of step ${x}`, WIDTH);
    });
  });
  strictEqual(figure.dots.length, dots ? points.flat().length : 0, `${title}: dots`);
  for (const [ticks, axis] of [[figure.xTicks, figure.xAxis], [figure.yTicks, figure.yAxis]] as const) {
    ok(ticks.length >= 2, `${title}: ticks`);
    for (const { text, at } of ticks) {
      near(at, pixelOf(Number(text.replaceAll(",", "")), axis), `${title}: ${text}`, WIDTH);
    }
  }
}

const PREDICTED = { weights: 40 * MIB, parameters: 8 * MIB, activations: 12 * MIB };
const EARLIER = { peakBytes: { weights: MIB }, expertLoad: [[1, 1, 1, 1], [1, 1, 1, 1]] };
const NEWEST = {
  peakBytes: { weights: 41 * MIB, parameters: 7.5 * MIB, cache: 2 * MIB },
  expertLoad: [[4, 0, 8, 4], [5, 5, 5, 5]],
};

/** Lines of which two tell memory and load. */
function loggedLines(steps: number): Line[] {
  return Array.from({ length: steps }, (_, i) => ({
    ...lineOf(i + 1),
    ...(i + 1 === 10 && EARLIER),
    ...(i + 1 === 20 && NEWEST),
  })) as unknown as Line[];
}

Deno.test("a run's page draws every metric of its log in its own chart: values, places, axes, units, ticks, colours, legends", async () => {
  const lines = loggedLines(23);
  const page = await pageOf({ lines, run: { predictedBytes: PREDICTED } });
  deepStrictEqual(Object.keys(page.sections), ["curves", "speed", "memory", "experts", "config"]);
  for (const [id, charts] of Object.entries(CHARTS)) {
    const section = sectionOf(page, id);
    for (const expected of charts) checkFigure(figureOf(section, expected.title), expected, lines);
  }
  const titles = Object.values(page.sections).flatMap(({ figures }) => figures.map(({ title }) => title));
  deepStrictEqual(titles, [
    ...[
      "Loss",
      "Learning rate",
      "Gradient norm, before clipping",
      "Tokens a second",
      "Time of a step, by lane",
    ],
    ...[
      "Host memory by class",
      "Host memory held after a step",
      "Neurons a layer",
      "Load of the experts, by layer",
    ],
  ]);
});

Deno.test("a run's page says in a line how far it is, how well, how fast, with how much memory, for how long", async () => {
  const lines = loggedLines(23);
  const run = { trainedParameters: 1_234_567 };
  const page = await pageOf({ lines, run });
  strictEqual(page.title, "a run");
  strictEqual(page.heading, "a run");
  const rates = lines.map(({ tokensPerSecond }) => tokensPerSecond!).sort((a, b) => a - b);
  const median = rates[11] as number; // of 23
  ok(median >= 10_000 && median < 1e6);
  const loss = (step: number) => (3 - step / 20 + Math.sin(step * 1.7) / 10).toFixed(4);
  deepStrictEqual(page.summary, [
    "sparse on models/tiny, 1.23 M parameters trained",
    [
      "step 23 of 40",
      `loss ${loss(1)} to ${loss(23)}`,
      "evaluation loss 1.6000", // of step 20
      `${(median / 1000).toPrecision(3)} k tokens/s`,
      "50.50 MiB of host memory",
      "26 min 24 s since the first step", // 3 (23² - 1) s
    ].join(" · "),
  ]);
  const ended = await pageOf({ lines: lines.map((line) => ({ ...line, totalSteps: 23 })), run });
  match(ended.summary[1] ?? "", /^23 steps · loss /);
  const [bare] = lines;
  const short = await pageOf({
    lines: [{ step: 1, loss: null, tokensPerSecond: 812.4 }, { step: bare!.step + 1, loss: 1 }],
  });
  deepStrictEqual(short.summary, [
    "sparse on models/tiny, ? parameters trained",
    "2 steps · loss NaN to 1.0000 · 812 tokens/s",
  ]);
});

Deno.test("a run's page compares the memory that was predicted with the most that was held, class by class", async () => {
  const section = sectionOf(
    await pageOf({ lines: loggedLines(23), run: { predictedBytes: PREDICTED } }),
    "memory",
  );
  deepStrictEqual(section.tables, [[
    ["class", "predicted", "most held"],
    ["weights", "40.00 MiB", "41.00 MiB"],
    ["parameters", "8.00 MiB", "7.50 MiB"],
    ["activations", "12.00 MiB", ""],
    ["cache", "", "2.00 MiB"],
  ]]);
  const bars = figureOf(section, "Host memory by class");
  deepStrictEqual(bars.legend, ["predicted", "most held"]);
  strictEqual(bars.xLabel, "MiB →");
  const [zero, ten] = ["0", "10"].map((text) => bars.xTicks.find((tick) => tick.text === text)?.at ?? NaN);
  const pixels = ((ten as number) - (zero as number)) / 10;
  const expected = [40, 41, 8, 7.5, 12, 0, 0, 2];
  deepStrictEqual(bars.boxes.map(({ fill }) => fill), expected.map((_, i) => COLORS[i % 2]));
  expected.forEach((mib, i) => near(bars.boxes[i]?.width as number, mib * pixels, `bar ${i}`));
  strictEqual((await pageOf({ lines: [] })).sections["memory"], undefined);
});

Deno.test("a run's page shows the newest load of the experts over the layer's mean, and how even it is", async () => {
  const section = sectionOf(await pageOf({ lines: loggedLines(23) }), "experts");
  const heat = figureOf(section, "Load of the experts, by layer");
  deepStrictEqual(heat.boxes.map(({ title }) => title), [
    ...[
      "expert 0, layer 0: 1.000",
      "expert 1, layer 0: 0.000",
      "expert 2, layer 0: 2.000",
      "expert 3, layer 0: 1.000",
    ],
    ...[0, 1, 2, 3].map((expert) => `expert ${expert}, layer 1: 1.000`),
  ]);
  match(heat.note, /over the mean of the layer: 1 is an even load\.$/);
  // Shares 1/4, 1/2, 1/4: an entropy of 1.5 bits, of 2.
  deepStrictEqual(section.tables, [[
    ["layer", "experts without a token", "busiest, of an even load", "evenness"],
    ["0", "1", "2.00", "75.0 %"],
    ["1", "0", "1.00", "100.0 %"],
  ]]);
  const many = [...Array(129).keys()];
  const wide = sectionOf(await pageOf({ lines: [{ ...lineOf(1), expertLoad: [many] }] }), "experts");
  const { boxes, note } = figureOf(wide, "Load of the experts, by layer");
  deepStrictEqual([boxes.length, boxes.at(-1)?.title], [65, "expert 128, layer 0: 2.000"]);
  match(note, /Each column is the mean of 2 experts\.$/);
  const columns = sectionOf(
    await pageOf({ lines: [{ ...lineOf(1), expertLoad: [many.slice(1)] }] }),
    "experts",
  );
  strictEqual(figureOf(columns, "Load of the experts, by layer").boxes.length, 128);
});

Deno.test("a run's page has the answers before and after in their columns, and every setting once", async () => {
  const examples = [
    { prompt: "Where?", expected: ["here", "there"], before: "no", after: "here" },
    { prompt: "<b>Who?</b>", expected: ["me"], before: "you", after: null },
  ];
  const run = {
    identity: { adapter: { kind: "sparse", topK: 4 }, optimizer: { schedule: { kind: "linear" } }, seed: 7 },
    settings: { seed: 7, batch: { size: 8 }, out: null },
    data: { files: ["a.jsonl", "b.jsonl"], rowsUsed: 5 },
  };
  const page = await pageOf({ lines: loggedLines(2), run, examples });
  deepStrictEqual(sectionOf(page, "examples").tables, [[
    ["prompt", "expected", "before training", "after training"],
    ["Where?", "here / there", "no", "here"],
    ["<b>Who?</b>", "me", "you", "the run has not ended"],
  ]]);
  deepStrictEqual(sectionOf(page, "config").tables, [[
    ["setting", "value"],
    ["adapter.kind", "sparse"],
    ["adapter.topK", "4"],
    ["optimizer.schedule.kind", "linear"],
    ["seed", "7"],
    ["batch.size", "8"],
    ["out", "null"],
    ["data.files", "a.jsonl, b.jsonl"],
    ["data.rowsUsed", "5"],
  ]]);
});

Deno.test("a run's page marks points while they are few, and says what a point of a long run is", async () => {
  const logged = (steps: number) =>
    pageOf({ lines: Array.from({ length: steps }, (_, i) => lineOf(i + 1)) }).then((page) =>
      sectionOf(page, "curves")
    );
  const rates = async (steps: number) => figureOf(await logged(steps), "Learning rate");
  strictEqual((await rates(60)).dots.length, 60);
  strictEqual((await rates(61)).dots.length, 0);
  const short = await rates(320);
  deepStrictEqual([short.series[0]?.points.length, short.note], [320, ""]);
  const curves = await logged(700);
  const long = figureOf(curves, "Learning rate");
  strictEqual(long.note, "Each point is the mean of 4 values, the band their range.");
  deepStrictEqual(long.series[0]?.points.length, 175);
  // Steps 5 to 8.
  deepStrictEqual(long.series[0]?.points[1], [6.5, 0.00087, 0.00084, 0.0009]);
  strictEqual(
    figureOf(curves, "Loss").note,
    "Each point is the mean of up to 4 values, the band their range.",
  );
});

Deno.test("a run's page writes steps short once they are many", async () => {
  const page = async (last: number) =>
    figureOf(sectionOf(await pageOf({ lines: [lineOf(1), lineOf(last)] }), "curves"), "Learning rate").xTicks;
  deepStrictEqual((await page(99_999)).map(({ text }) => text), ["20,000", "40,000", "60,000", "80,000"]);
  deepStrictEqual((await page(100_000)).map(({ text }) => text), ["20k", "40k", "60k", "80k", "100k"]);
});

Deno.test("balance() and loadCells() are relative to an even load, and bear a layer without tokens", () => {
  deepStrictEqual(balance([5, 5, 5, 5]), ["0", "1.00", "100.0 %"]);
  deepStrictEqual(balance([8, 0, 0, 0]), ["3", "4.00", "0.0 %"]);
  deepStrictEqual(balance([0, 0]), ["2", "-", "-"]);
  deepStrictEqual(balance([7]), ["0", "1.00", "100.0 %"]);
  deepStrictEqual(loadCells([[1, 3, 5], [0, 0, 0]], 2).map(({ x, y, value }) => [x, y, value]), [
    [0, 0, 2 / 3],
    [2, 0, 5 / 3],
    [0, 1, 0],
    [2, 1, 0],
  ]);
});

Deno.test("writeRunReport() shows a run before its first step, and refuses a folder without one", () =>
  withFolder(async (folder) => {
    await rejects(writeRunReport(folder), /There is no run in .*: it has no run\.json/);
    Deno.writeTextFileSync(
      `${folder}/run.json`,
      JSON.stringify({ method: "<lora>", settings: { steps: 3 } }),
    );
    const page = Deno.readTextFileSync(await writeRunReport(folder));
    match(page, /&lt;lora&gt; on \?[^]*No step has ended yet/);
    deepStrictEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [
      "report.html",
      "run.json",
    ]);
  }));
