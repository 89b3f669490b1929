// SPDX-License-Identifier: Apache-2.0
/** The study of reversible methods: its configurations, what it compares, and that README says what it found. */
import assert from "node:assert/strict";
import { expandGrid } from "../../../lib/study/grid.ts";
import { readConfig } from "../../../scripts/study/cells.ts";
import { drawStudy } from "../../../scripts/study/reversible/picture.ts";
import {
  classesByMethod,
  type ClassesCell,
  classesRows,
  type StudyResults,
  textByMethod,
  type TextCell,
  textRows,
} from "../../../scripts/study/reversible/results.ts";

const FOLDER = new URL("../../../scripts/study/reversible/", import.meta.url);
const METHODS = ["full", "bottleneck", "meft1", "meft2", "meft3"];

const COST = { lr: 1e-3, trained: 100, besideBytes: 3 * 2 ** 20, activationBytes: 2 ** 20 };
const times = (tokensPerSecond: number) => ({
  rows: 1,
  tokens: 100,
  seconds: 1,
  cpuSeconds: 100 / tokensPerSecond,
});

function classesCells(method: string, accuracies: readonly number[]): ClassesCell[] {
  return accuracies.map((accuracy, i) => ({
    ...{ ...COST, method, seed: i + 1, accuracy, f1: accuracy },
    times: i === 1 ? null : times(10 * (i + 1)),
  }));
}

Deno.test("classesByMethod() compares with the ordinary adapter seed by seed, speeds where a run went through", () => {
  const cells = [
    ...classesCells("meft1", [0.8, 0.82, 0.81]),
    ...classesCells("bottleneck", [0.81, 0.81, 0.82]),
    ...classesCells("full", [0.7]),
  ];
  const [meft1, ordinary, full] = classesByMethod({ testRows: 1000, cells });
  assert.ok(meft1 && ordinary && full);
  assert.ok(Math.abs(meft1.accuracy.mean - 0.81) < 1e-12);
  assert.equal(meft1.tokensPerSecond, 20);
  // -0.01, 0.01, -0.01: deviation 0.011547, times 4.302653 over the root of 3.
  assert.ok(Math.abs(meft1.difference.mean + 0.01 / 3) < 1e-12);
  assert.ok(Math.abs((meft1.difference.half ?? 0) - 0.0286843) < 1e-6);
  assert.deepEqual(ordinary.difference, { mean: 0, half: 0 });
  assert.ok(Math.abs(full.difference.mean + 0.11) < 1e-12);
  assert.equal(full.difference.half, null, "one seed says nothing of others");
  const rows = classesRows([meft1, ordinary, full]).map((row) => row.slice(3, 5).join(" | "));
  assert.deepEqual(rows.slice(1), [
    "81.0 (78.5 to 83.5) | -0.3 ± 2.9",
    "81.3 (79.9 to 82.8) | ",
    "70.0 (70.0 to 70.0) | -11.0",
  ]);
});

Deno.test("textByMethod() has each method's own start, and the plain model's where it has none", () => {
  const cell = (method: string, seed: number, text: number, english: number): TextCell => ({
    ...{ ...COST, method, seed, text, english, times: null },
  });
  const methods = textByMethod({
    ...{ trainRows: 2, testRows: 2, plain: { text: 5, english: 4 } },
    starts: { meft1: { text: 5.5, english: 4.5 } },
    cells: [cell("bottleneck", 1, 4, 4), cell("bottleneck", 2, 4.2, 4), cell("meft1", 2, 4.1, 4.3)],
  });
  assert.deepEqual(methods.map(({ start }) => start.text), [5, 5.5]);
  assert.ok(Math.abs((methods[1]?.difference.text.mean ?? 0) + 0.1) < 1e-12, "of the same seed");
  assert.deepEqual(textRows(methods).map((row) => row.slice(3, 7).join(" | ")).slice(1), [
    "4.10 ± 1.27 |  | 4.00 ± 0.00 | 5.00, 4.00",
    "4.10 | -0.10 | 4.30 | 5.50, 4.50",
  ]);
  assert.doesNotMatch(
    drawStudy(classesByMethod({ testRows: 1, cells: classesCells("full", [0.5]) }), methods),
    /Infinity/,
  );
});

const CONFIGS = [
  ["minilm", METHODS, "definitions/train", "definitions/test"],
  ["minilm_learning_rates", METHODS.slice(1), "definitions/train", "definitions/validation"],
  ["smollm2", METHODS, "verses/train", "verses/test"],
  ["smollm2_learning_rates", METHODS, "verses/train", "verses/validation"],
] as const;

for (const [name, methods, data, evalData] of CONFIGS) {
  Deno.test(`scripts/study/reversible/${name}.json has every method, on the rows that are its own`, async () => {
    const { base, grids } = await readConfig(new URL(`${name}.json`, FOLDER));
    assert.deepEqual(base.data, [`runs/reversible/${data}.jsonl`]);
    assert.deepEqual(base.evalData, [`runs/reversible/${evalData}.jsonl`]);
    const cells = expandGrid(base, grids).map(({ settings }) => settings);
    assert.deepEqual(new Set(cells.map(({ method }) => method)), new Set(methods));
    assert.equal(new Set(cells.map((settings) => JSON.stringify(settings))).size, cells.length);
  });
}

/** Cells of a Markdown table's lines, without what only aligns them. */
function tablesOf(markdown: string): string[] {
  return markdown.split("\n").filter((line) => line.startsWith("|"))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()).join(" | "));
}

Deno.test("README shows what results.json of the study says, and the picture is drawn from it", async () => {
  const { classes, text }: StudyResults = JSON.parse(
    await Deno.readTextFile(new URL("results.json", FOLDER)),
  );
  const [ofClasses, ofText] = [classesByMethod(classes), textByMethod(text)];
  assert.deepEqual(ofClasses.map(({ method }) => method), METHODS);
  assert.deepEqual(ofText.map(({ method }) => method), METHODS);
  const picture = await Deno.readTextFile(new URL("picture.svg", FOLDER));
  assert.equal(picture, drawStudy(ofClasses, ofText));
  const shown = new Set(tablesOf(await Deno.readTextFile(new URL("../../../README.md", import.meta.url))));
  for (const row of [...classesRows(ofClasses), ...textRows(ofText)]) {
    assert.ok(shown.has(row.join(" | ")), `README has no line ${row.join(" | ")}`);
  }
});
