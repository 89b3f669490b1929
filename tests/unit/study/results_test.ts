// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { formatCsv, readResults, writeResults } from "../../../lib/study/results.ts";
import {
  axesOf,
  axisValue,
  groupBySeed,
  groupsOf,
  partsOf,
  seriesOf,
  SIZE,
} from "../../../lib/study/summary.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { STUDY, studyCell } from "../../fixtures/study.ts";

Deno.test("writeResults() and readResults() keep every result, and a bad line is named", () =>
  withFolder(async (folder) => {
    deepStrictEqual(await readResults(folder), []);
    await writeResults(folder, STUDY);
    deepStrictEqual(await readResults(folder), STUDY);
    const path = join(folder, "results.jsonl");
    await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replace(/"cell":"b"/, '"cell":2'));
    await rejects(readResults(folder), /results\.jsonl:2 is no result of a cell: remove the line/);
  }));

Deno.test("formatCsv() has a row a cell, every setting and number in its column, and quotes as RFC 4180", () => {
  const failed = {
    ...studyCell("f", { topK: 4 }, 1, 0.5),
    status: "failed" as const,
    numbers: null,
    error: 'no "room",\nnone',
  };
  const text = formatCsv([...STUDY, failed]);
  ok(text.endsWith('"no ""room"",\nnone"\r\n'));
  const [head = [], ...rows] = text.split("\r\n").slice(0, -2).map((line) => line.split(","));
  strictEqual(rows.length, STUDY.length);
  strictEqual(new Set(head).size, head.length, "no column stands twice");
  rows.forEach((row, i) => {
    const cell = Object.fromEntries(head.map((name, column) => [name, row[column]]));
    const { settings, numbers, seed } = STUDY[i]!;
    strictEqual(row.length, head.length);
    strictEqual(cell["topK"], String(settings.topK ?? ""));
    strictEqual(cell["seed"], String(seed));
    strictEqual(cell["exact-match"], String(numbers!.scores["exact-match"]!.mean));
    strictEqual(cell["exact-match-high"], String(numbers!.scores["exact-match"]!.high));
    strictEqual(cell["peakBytes"], String(numbers!.peakBytes));
    strictEqual(cell["deadNeurons"], String(numbers!.activity?.deadNeurons ?? ""));
  });
});

Deno.test("formatCsv() gives a spreadsheet no formulas: text that would be one begins with an apostrophe, numbers stay", () => {
  const cells = ["=1+1", "+a", "-a", "@a", "\t=1", "a=1", "-0.5"].map((model, i) => ({
    ...studyCell(`c${i}`, { model }, 1, 0.5),
    error: model,
  }));
  const lines = formatCsv(cells).split("\r\n").slice(1, -1).map((line) => line.split(","));
  const expected = ["'=1+1", "'+a", "'-a", "'@a", "'\t=1", "a=1", "-0.5"];
  deepStrictEqual(lines.map((line) => line.at(-1)), expected);
  expected.forEach((text, i) => ok(lines[i]!.slice(0, -1).includes(text), text));
});

Deno.test("formatCsv() shows settings that are maps, so that cells that differ in nothing else can be told apart", () => {
  const cells = [{ q_proj: 4 }, { q_proj: 4, v_proj: 8 }, { "layers.1.q_proj,x": 2 }].map((rankPattern, i) =>
    studyCell(`p${i}`, { rankPattern }, 1, 0.5)
  );
  const [head, ...rows] = formatCsv(cells).split("\r\n").slice(0, -1);
  ok(head!.split(",").includes("rankPattern"));
  ok(rows[0]!.includes(",q_proj=4,"));
  ok(rows[1]!.includes(",q_proj=4+v_proj=8,"));
  ok(rows[2]!.includes(',"layers.1.q_proj,x=2",'));
});

Deno.test("groupBySeed() puts seeds together: means, Student's interval, failures counted", () => {
  const failed = { ...studyCell("f", { topK: 4 }, 3, 0.5), status: "failed" as const, numbers: null };
  const groups = groupBySeed([...STUDY, failed]);
  strictEqual(groups.length, 3);
  const [four, sixteen, lora] = groups;
  deepStrictEqual(four?.seeds, [1, 2, 3]);
  strictEqual(four?.failed, 1);
  const { mean, low, high } = four!.scores["exact-match"]!;
  ok(Math.abs(mean - 0.25) <= 1e-12);
  // Two seeds 0.1 apart: s = 0.1 / sqrt(2), t = 12.706.
  ok(low === 0 && Math.abs(high - (0.25 + 12.706204736174705 * 0.05)) <= 1e-12);
  match(four!.label, /^topK=4$/);
  strictEqual(sixteen?.scores["exact-match"]?.high, 0.65, "one seed keeps its own interval");
  strictEqual(lora?.settings["method"], "lora");
});

Deno.test("axesOf() finds what a part is drawn against, and seriesOf() names its lines", () => {
  const groups = groupBySeed(STUDY);
  deepStrictEqual(partsOf(groups), ["k", "size"]);
  const k = groupsOf(groups, "k");
  deepStrictEqual(axesOf(k, "k"), ["topK"]);
  deepStrictEqual(k.map((group) => axisValue(group, "topK")), [4, 16]);
  deepStrictEqual(k.map((group) => seriesOf(group, k, "k", "topK")), ["sparse", "sparse"]);
  const size = groupsOf(groups, "size");
  deepStrictEqual(axesOf(size, "size"), [SIZE]);
  deepStrictEqual(size.map((group) => seriesOf(group, size, "size", SIZE)), ["ours", "lora"]);
});
