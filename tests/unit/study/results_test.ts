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
import type { TrainSettings } from "../../../lib/train/settings.ts";
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
    await Deno.writeTextFile(path, `${JSON.stringify(STUDY[0])}\n\n{"cell":"b","sta\n`);
    await rejects(readResults(folder), /results\.jsonl:3 is no result of a cell/);
    await Deno.writeTextFile(path, "[]\n");
    await rejects(readResults(folder), /results\.jsonl:1 is no result of a cell/);
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

Deno.test("formatCsv() has these columns, in this order, and what a run was told stands for what it decided", () => {
  const cell = studyCell("a", { topK: 4, lr: 0.5, target: ["q", "v"], steps: 9 }, 7, 0.25);
  const { activity, ...numbers } = cell.numbers!;
  const parts = [{ part: "k", series: null, varied: [] }, { part: "all, of it", series: "s", varied: [] }];
  const text = formatCsv([{ ...cell, parts, numbers: { ...numbers, evalLoss: 0.125, activity } }]);
  strictEqual(
    text,
    "cell,parts,status,method,lr,topK,target,seed,exact-match,exact-match-low,exact-match-high,steps,lossFirst," +
      "lossLast,evalLoss,tokens,seconds,tokensPerSecond,scoringSeconds,peakBytes,adapterParameters," +
      "trainedParameters,trainedShare,activeNeurons,neuronsPerToken,deadNeurons,idleExperts,loadImbalance,error\r\n" +
      'a,"k; all, of it",done,sparse,0.5,4,q+v,7,0.25,0.2,0.3,10,2,' +
      "0.75,0.125,1000,2,500,1,1048576,90000," +
      "80000,0.5,40,3,0.25,0,2,\r\n",
  );
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

Deno.test("groupBySeed() takes every mean over the seeds that were done, of those numbers alone", () => {
  const names = [
    ...[
      "lossLast",
      "seconds",
      "tokensPerSecond",
      "peakBytes",
      "trainedParameters",
      "trainedShare",
      "activeNeurons",
    ],
  ] as const;
  const cells = [1, 2, 3].map((seed) => {
    const cell = studyCell(`c${seed}`, { topK: 4 }, seed, 0.1 * seed);
    const own = Object.fromEntries(names.map((name, i) => [name, (i + 1) * 4 ** seed]));
    return { ...cell, numbers: { ...cell.numbers!, ...own } };
  });
  const failed = { ...cells[2]!, status: "failed" as const, numbers: null };
  const [group] = groupBySeed([cells[0]!, cells[1]!, failed]);
  // The means of 4 and 16.
  deepStrictEqual(group?.means, Object.fromEntries(names.map((name, i) => [name, (i + 1) * 10])));
  deepStrictEqual([group?.seeds, group?.failed], [[1, 2, 3], 1]);
  strictEqual(group?.scores["exact-match"]?.count, 200);
  const [none] = groupBySeed([failed]);
  deepStrictEqual([none?.means, none?.scores, none?.failed], [null, {}, 1]);
  deepStrictEqual(group?.settings, { method: "sparse", lr: 1e-3, schedule: { kind: "linear" }, topK: 4 });
});

Deno.test("groupBySeed() keeps apart what differs in a setting or in its parts, and what was told stands for what was decided", () => {
  const one = studyCell("a", { topK: 4, lr: 0.5 }, 1, 0.2);
  const other = studyCell("b", { topK: 4, lr: 0.25 }, 2, 0.2);
  const elsewhere = { ...one, cell: "c", parts: [{ part: "z", series: null, varied: [] }] };
  const groups = groupBySeed([one, other, elsewhere]);
  deepStrictEqual(groups.map(({ settings }) => settings.lr), [0.5, 0.25, 0.5]);
  deepStrictEqual(groups.map(({ label }) => label), ["topK=4 lr=0.5", "topK=4 lr=0.25", "topK=4 lr=0.5"]);
});

/** Groups of a part whose grid goes through these settings. */
function groupsGoing(
  varied: readonly string[],
  sizes: readonly number[],
  settings: readonly TrainSettings[],
) {
  return groupBySeed(settings.map((own, i) => {
    const cell = studyCell(`c${i}`, own, 1, 0.5);
    const numbers = { ...cell.numbers!, trainedParameters: sizes[i] ?? 1000 };
    return { ...cell, parts: [{ part: "p", series: null, varied }], numbers };
  }));
}

Deno.test("axesOf() draws against the size where sizes differ by half, and against sizes' settings for one method alone", () => {
  const axes = (...of: Parameters<typeof groupsGoing>) => axesOf(groupsGoing(...of), "p");
  deepStrictEqual(axes(["lr", "seed"], [1000, 1499], [{ lr: 1 }, { lr: 2 }]), ["lr"]);
  deepStrictEqual(axes(["lr", "seed"], [1000, 1500], [{ lr: 1 }, { lr: 2 }]), ["lr", SIZE]);
  deepStrictEqual(axes(["neurons"], [1, 2], [{ neurons: 8 }, { neurons: 16 }]), ["neurons", SIZE]);
  deepStrictEqual(axes(["lr", "gate"], [], [{ lr: 1, gate: "raw" }, { lr: 1, gate: "none" }]), ["gate"]);
  // Several methods share no setting of size.
  const methods = [{ method: "lora", rank: 2, lr: 1 }, { method: "lora", rank: 4, lr: 2 }, { lr: 1 }];
  const groups = groupsGoing(["method", "rank", "lr"], [1, 2, 9], methods).map((group, i) =>
    i < 2 ? group : { ...group, settings: { ...group.settings, method: "sparse" } }
  );
  deepStrictEqual(axesOf(groups, "p"), ["lr", SIZE]);
  deepStrictEqual(axes(["rank", "lr"], [1, 1], methods.slice(0, 2)), ["rank", "lr"]);
});

Deno.test("seriesOf() names a line by its method and by what else is gone through", () => {
  const settings = [{ neurons: 8, lr: 1, gate: "raw" }, { neurons: 16, lr: 1, gate: "none" }] as const;
  const groups = groupsGoing(["neurons", "lr", "gate", "seed", "packing"], [1, 2], settings);
  const names = (axis: string) => groups.map((group) => seriesOf(group, groups, "p", axis));
  deepStrictEqual(names("lr"), ["sparse, neurons 8, gate raw", "sparse, neurons 16, gate none"]);
  deepStrictEqual(names("gate"), ["sparse, neurons 8, lr 1", "sparse, neurons 16, lr 1"]);
  deepStrictEqual(names(SIZE), ["sparse, lr 1, gate raw", "sparse, lr 1, gate none"]);
  deepStrictEqual(groups.map((group) => axisValue(group, SIZE)), [1, 2]);
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
