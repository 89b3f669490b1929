// SPDX-License-Identifier: Apache-2.0
/** The study of a real encoder: its data, its configurations, and what it compares. */
import assert from "node:assert/strict";
import { expandGrid } from "../../../lib/study/grid.ts";
import { drawStudy } from "../../../scripts/study/encoder/picture.ts";
import {
  byMethod,
  isSame,
  type PairResult,
  type StudyResults,
  tableRows,
} from "../../../scripts/study/encoder/results.ts";
import { readConfig } from "../../../scripts/study/cells.ts";
import { readDefinitions, readEntries, splitDefinitions } from "../../../scripts/study/wordnet.ts";

const FOLDER = new URL("../../../scripts/study/encoder/", import.meta.url);

/** Lines of `data.noun`, as WordNet 3.0 has them. */
const NOUNS = [
  "  1 This software and database is being provided to you, the LICENSEE | by Princeton  ",
  "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is perceived to have its own existence  ",
  '00006484 05 n 01 cell 0 001 @ 00004258 n 0000 | the basic unit of all organisms; "cells may exist alone"  ',
  "07555863 13 n 02 food 0 solid_food 0 001 @ 00021265 n 0000 | any solid substance  ",
  "07555999 18 n 01 other 0 001 @ 00021265 n 0000 | any solid substance; said again  ",
  "",
].join("\n");

Deno.test("readDefinitions() takes what is defined of the classes alone, without examples, and each text once", () => {
  assert.deepEqual(readDefinitions(NOUNS), [
    { text: "the basic unit of all organisms", label: "animal" },
    { text: "any solid substance", label: "food" },
  ]);
});

Deno.test("readEntries() takes every synset with its first word, and examples", () => {
  assert.deepEqual(readEntries(NOUNS).slice(1, 3), [
    'cell: the basic unit of all organisms; "cells may exist alone"',
    "food: any solid substance",
  ]);
  assert.equal(readEntries(NOUNS).length, 4);
});

Deno.test("splitDefinitions() makes parts that share no row, the same each time", () => {
  const all = Array.from({ length: 9 }, (_, i) => ({ text: `text ${i}`, label: "act" }));
  const sizes = { train: 4, validation: 2, test: 3 };
  const split = splitDefinitions(all, sizes);
  const texts = Object.values(split).flat().map(({ text }) => text);
  assert.deepEqual(texts.toSorted(), all.map(({ text }) => text));
  assert.notDeepEqual(texts, all.map(({ text }) => text), "in no order");
  assert.deepEqual(splitDefinitions(all, sizes), split);
  assert.throws(() => splitDefinitions(all.slice(1), sizes), /8 definitions/);
});

for (const [name, part] of [["study", "test"], ["learning_rates", "validation"]] as const) {
  Deno.test(`scripts/study/encoder/${name}.json has only cells that can be, and looks at the ${part} rows alone`, async () => {
    const { base, grids } = await readConfig(new URL(`${name}.json`, FOLDER));
    assert.deepEqual(base.evalData, [`runs/encoder/data/${part}.jsonl`]);
    assert.deepEqual(base.data, ["runs/encoder/data/train.jsonl"]);
    const cells = expandGrid(base, grids).map(({ settings }) => JSON.stringify(settings));
    assert.equal(new Set(cells).size, 12);
  });
}

/** Three seeds; a pair of which one side had a machine half as fast says nothing of the other. */
function results(torchAccuracies: readonly number[]): StudyResults {
  const times = (rowsPerSecond: number, cpus: number) => ({
    rows: 100,
    seconds: 100 / rowsPerSecond,
    cpuSeconds: cpus * 100 / rowsPerSecond,
  });
  const pairs = torchAccuracies.map((torch, i): PairResult => ({
    ...{ method: "lora", seed: i + 1, lr: 1e-3, trained: 1000 },
    ours: { accuracy: [0.8, 0.82, 0.81][i] as number, f1: 0.7, times: times([40, 20, 40][i] as number, 2) },
    torch: { accuracy: torch, f1: 0.7, times: times([20, 10, 10][i] as number, 3) },
  }));
  return { machine: {} as StudyResults["machine"], testRows: 1000, pytorch: "2", pairs };
}

Deno.test("byMethod() compares pair by pair: speeds of runs one after the other, scores of the same batches", () => {
  const [near] = byMethod(results([0.81, 0.81, 0.82]));
  if (!near) throw new Error("There is a method");
  assert.equal(near.faster?.toFixed(9), "3.000000000");
  assert.equal(near.fasterByClock, 2);
  assert.deepEqual(near.rowsPerSecond.map((rows) => rows?.toFixed(3)), ["20.000", "3.333"]);
  assert.ok(Math.abs(near.accuracy[0].mean - 0.81) < 1e-12);
  // -0.01, 0.01, -0.01: deviation 0.011547, times 4.302653 over the root of 3.
  assert.ok(Math.abs((near.difference?.half ?? 0) - 0.0286843) < 1e-6);
  assert.equal(isSame(near), true);
  const [far] = byMethod(results([0.7, 0.72, 0.71]));
  if (!far) throw new Error("There is a method");
  assert.equal(isSame(far), false);
  assert.match(
    tableRows([near]).flat().join(" | "),
    /81\.0 \(78\.5 to 83\.5\) \| .* \| -0\.3 ± 2\.9 \| .* \| 3\.00 \| 2\.00$/,
  );
  assert.match(tableRows([far]).flat().join(" | "), /10\.0 ± 0\.0, differs/);
});

Deno.test("without PyTorch there is a table and a picture of one side", () => {
  const { pairs, ...rest } = results([0.8, 0.8, 0.8]);
  const alone = byMethod({ ...rest, pairs: pairs.map((pair) => ({ ...pair, torch: null })) });
  assert.equal(isSame(alone[0] as never), null);
  assert.deepEqual(tableRows(alone)[1]?.slice(2, 5), ["81.0 (78.5 to 83.5)", "", ""]);
  const both = drawStudy(byMethod({ ...rest, pairs }));
  const one = drawStudy(alone);
  assert.equal(both.match(/<circle/g)?.length, 2);
  assert.equal(one.match(/<circle/g)?.length, 1);
  assert.doesNotMatch(both + one, /NaN|Infinity|undefined/);
});

Deno.test("results.json of the study that README shows has every method and their picture", async () => {
  const shipped: StudyResults = JSON.parse(await Deno.readTextFile(new URL("results.json", FOLDER)));
  const methods = byMethod(shipped);
  assert.deepEqual(methods.map(({ method }) => method), ["full", "lora", "parallel", "sparse"]);
  const picture = await Deno.readTextFile(new URL("picture.svg", FOLDER));
  assert.equal(picture, drawStudy(methods));
});
