// SPDX-License-Identifier: Apache-2.0
/** Rows with labels, as published sets have them, and what becomes of them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { BadRowsError } from "../../../lib/data/bad_rows.ts";
import { makeMicroBatch, sequentialShapes, stepShapes } from "../../../lib/data/batches.ts";
import { datasetHash, examplePlace, firstRows } from "../../../lib/data/dataset.ts";
import { LongTextError } from "../../../lib/data/tokenizer_library.ts";
import { previewExamples } from "../../../lib/data/preview.ts";
import type { HeadConfig } from "../../../lib/models/heads/head_config.ts";
import { LM_HEAD } from "../../../lib/models/heads/head_config.ts";
import {
  classesOf,
  type LabelHead,
  loadLabelled,
  loadTexts,
  sharedRoom,
} from "../../../lib/tasks/labelled_data.ts";
import { labelledRow } from "../../../lib/tasks/labelled_rows.ts";
import { taskOf } from "../../../lib/tasks/registry.ts";
import { assertSame } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { CHARACTERS } from "../evaluate/fake_session.ts";

const CLASSES: LabelHead = { kind: "classification", gives: "classes", labels: ["no", "yes"] };
const VALUES: LabelHead = { kind: "classification", gives: "values", labels: ["LABEL_0"] };

/** Characters between marks, as BERT has them: 1 a 2, and 1 a 2 b 2. */
const MARKED = {
  ...CHARACTERS,
  prefixIds: [1],
  suffixIds: [2],
  pairIds: { prefix: [1], middle: [2], suffix: [2], secondType: 1 as const },
  encodeBatch: (texts: readonly string[]) =>
    Promise.resolve(texts.map((text) => {
      const ids = Int32Array.from(text, (character) => character.codePointAt(0) as number);
      return { ids, starts: ids.map((_, i) => i), ends: ids.map((_, i) => i + 1) };
    })),
};

const codes = (text: string): number[] => [...text].map((character) => character.codePointAt(0) as number);

function withRows<T>(rows: readonly unknown[], run: (path: string) => Promise<T>): Promise<T> {
  return withFolder(async (folder) => {
    const path = join(folder, "rows.jsonl");
    await Deno.writeTextFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
    return await run(path);
  });
}

Deno.test("a text that no tokenizer takes whole is a bad row among the others", () =>
  withRows([{ text: "ab", label: 1 }, { text: "long", label: 0 }], async (path) => {
    const encodeBatch = (texts: readonly string[]) =>
      texts.includes("long")
        ? Promise.reject(new LongTextError("A text is long"))
        : MARKED.encodeBatch(texts);
    const data = await loadLabelled([path], { ...MARKED, encodeBatch }, CLASSES, { badRows: "skip" });
    assert.equal(data.report.rowsUsed, 1);
    assert.deepEqual(data.report.badRows, [{
      ...{ file: path, line: 2 },
      ...{ category: "over-long", reason: "A text is long" },
    }]);
  }));

Deno.test("labelledRow() knows the columns of GLUE and passes over others", () => {
  const pairs = [
    ["sentence1", "sentence2"],
    ["premise", "hypothesis"],
    ["question1", "question2"],
    ["question", "sentence"],
  ];
  for (const [first, second] of pairs as [string, string][]) {
    const row = labelledRow({ [second]: "b", [first]: "a", label: 1, idx: 7 });
    assert.deepEqual(row, { text: "a", second: "b", label: 1 });
  }
  assert.deepEqual(labelledRow({ sentence: "a", label: "x" }), { text: "a", second: null, label: "x" });
  assert.deepEqual(labelledRow({ text: "a", labels: true }), { text: "a", second: null, label: 1 });
  assert.deepEqual(labelledRow({ text: "a" }).label, null);
  assert.throws(
    () => labelledRow({ tekst: "a", label: 0 }),
    /the row has "tekst", "label", expected \{text, label\}/,
  );
  assert.throws(() => labelledRow({ text: 3, label: 0 }), /"text" is 3, expected a string/);
  assert.throws(() => labelledRow({ text: " ", label: 0 }), /"text" is empty/);
  assert.throws(
    () => labelledRow({ text: "a", label: [1] }),
    /"label" is \[1\], expected a name or a number/,
  );
});

Deno.test("loadLabelled() puts marks around one text and two, cuts to length, and keeps every label", () =>
  withRows([
    { text: "ab", label: "yes" },
    { sentence1: "abcdef", sentence2: "xy", label: 0 },
    { sentence1: "abcdef", sentence2: "uvwxyz", label: "no" },
    { text: "abcdefghij", label: 1 },
  ], async (path) => {
    const data = await loadLabelled([path], MARKED, CLASSES, { seqLen: 8 });
    const { batch } = makeMicroBatch(data, Int32Array.of(0, 1, 2, 3));
    const example = (s: number) => [...batch.ids.subarray(batch.starts[s], batch.starts[s + 1])];
    assert.deepEqual(example(0), [1, ...codes("ab"), 2]);
    assert.deepEqual(example(1), [1, ...codes("abc"), 2, ...codes("xy"), 2]);
    assert.deepEqual(example(2), [1, ...codes("ab"), 2, ...codes("uvw"), 2]);
    assert.deepEqual(example(3), [1, ...codes("abcdef"), 2]);
    const types = (s: number) => batch.types?.subarray(batch.starts[s], batch.starts[s + 1]).join("");
    assert.deepEqual([0, 1, 2, 3].map(types), ["0000", "00000111", "00001111", "00000000"]);
    assert.deepEqual(batch.targets, { kind: "classes", labels: Int32Array.of(1, 0, 0, 1) });
    assert.equal(batch.targetCount, 4);
    assert.deepEqual([data.report.cutTokens, data.report.truncatedRows, data.report.targets], [
      3 + 7 + 4,
      3,
      4,
    ]);
    assert.deepEqual(previewExamples(data, { tokenizer: MARKED }, 1)[0]?.label, "yes");
    assert.deepEqual([...sequentialShapes(data, 3)].map(({ targets }) => targets), [3, 1]);
    assert.equal(stepShapes(data, { batchSize: 4, shuffleSeed: 1 }).next().value[0]?.targets, 4);
    assertSame(firstRows(data, 2).labels?.of, Int32Array.of(1, 0));
    const other = await loadLabelled([path], MARKED, { ...CLASSES, labels: ["yes", "no"] }, { seqLen: 8 });
    assert.notEqual(datasetHash(other), datasetHash(data));
  }));

Deno.test("a label that the head does not have is an error that lists the known ones", () =>
  withRows([{ text: "a", label: "yes" }, { text: "b", label: "yess" }, { text: "c", label: 2 }, {
    text: "d",
  }], async (path) => {
    const error = await loadLabelled([path], MARKED, CLASSES).catch((error) => error);
    assert.ok(error instanceof BadRowsError);
    const lines = error.badRows.map(({ reason }) => reason);
    assert.match(lines[0]!, /"label" is "yess", expected one of "no", "yes".*did you mean "yes"/);
    assert.match(lines[1]!, /"label" is 2, expected a number from 0 to 1 or one of "no", "yes"/);
    assert.match(lines[2]!, /the row has no "label"/);
    const data = await loadLabelled([path], MARKED, CLASSES, { badRows: "skip" });
    assert.deepEqual([data.report.rowsRead, data.report.rowsUsed, data.report.badRows.length], [4, 1, 3]);
  }));

Deno.test("values are numbers, written as such or as text", () =>
  withRows(
    [{ text: "a", label: 2.5 }, { text: "b", label: "-1" }, { text: "c", label: "x" }],
    async (path) => {
      const data = await loadLabelled([path], MARKED, VALUES, { badRows: "skip" });
      assert.deepEqual(data.labels, { kind: "values", of: Float64Array.of(2.5, -1) });
      assert.match(data.report.badRows[0]!.reason, /"label" is "x", expected a number/);
    },
  ));

Deno.test("a folder of texts by label gives its classes and rows, in the order of names", () =>
  withFolder(async (folder) => {
    for (const [label, text] of [["sad", "oh"], ["glad", "ah"]] as const) {
      await Deno.mkdir(join(folder, label));
      await Deno.writeTextFile(join(folder, label, "1.txt"), text);
    }
    assert.deepEqual(await classesOf([folder]), ["glad", "sad"]);
    const head = await taskOf("classification", { head: LM_HEAD, takes: "tokens" }).headFor(LM_HEAD, [
      folder,
    ]);
    const data = await loadLabelled([folder], MARKED, head as LabelHead);
    assert.deepEqual([...data.ids], [1, ...codes("ah"), 2, 1, ...codes("oh"), 2]);
    assertSame(data.labels?.of, Int32Array.of(0, 1));
  }));

Deno.test("a row that is a file of its own is told by its name, and is a bad row where it is no text", () =>
  withFolder(async (folder) => {
    for (const label of ["no", "yes"]) await Deno.mkdir(join(folder, label));
    await Deno.writeTextFile(join(folder, "no", "a.txt"), "one");
    await Deno.writeFile(join(folder, "no", "b.txt"), Uint8Array.of(0x6e, 0xe9));
    await Deno.writeTextFile(join(folder, "yes", "c.txt"), " ");
    await Deno.writeTextFile(join(folder, "yes", "d.txt"), "two");
    const error = await loadLabelled([folder], MARKED, CLASSES).catch((error) => error);
    assert.ok(error instanceof BadRowsError);
    assert.match(error.message, /no\/b\.txt: .*b\.txt is not valid UTF-8/);
    assert.match(error.message, /yes\/c\.txt: "c\.txt" is empty/);
    const data = await loadLabelled([folder], MARKED, CLASSES, { badRows: "skip" });
    const place = { file: folder, line: 4, path: join(folder, "yes", "d.txt") };
    assert.deepEqual(examplePlace(data, 1), place);
    assert.deepEqual(firstRows(data, 1).pathOf, [join(folder, "no", "a.txt")]);
    assert.deepEqual(data.files, [folder]);
  }));

Deno.test("tables are labelled rows too: a label that reads as a number is one, other cells are texts", () =>
  withFolder(async (folder) => {
    const path = join(folder, "rows.csv");
    await Deno.writeTextFile(path, 'idx,sentence1,sentence2,label\n0,"a, b",7,1\n1,c,d,\n2,e,f,0.0\n');
    assert.deepEqual(await classesOf([path]), ["LABEL_0", "LABEL_1"]);
    const data = await loadLabelled([path], MARKED, CLASSES, { badRows: "skip" });
    assert.deepEqual([data.labels?.of, data.report.badRows.map(({ line }) => line)], [Int32Array.of(1, 0), [
      3,
    ]]);
    const { batch } = makeMicroBatch(data, Int32Array.of(0));
    assert.deepEqual([...batch.ids], [1, ...codes("a, b"), 2, ...codes("7"), 2]);
    const scores = join(folder, "scores.tsv");
    await Deno.writeTextFile(scores, "sentence1\tsentence2\tscore\na\tb\t4.5\n");
    assertSame((await loadLabelled([scores], MARKED, VALUES)).labels?.of, Float64Array.of(4.5));
  }));

Deno.test("lines of plain texts are rows without labels", () =>
  withFolder(async (folder) => {
    const path = join(folder, "own.txt");
    await Deno.writeTextFile(path, "one\n\n{two}\r\n");
    const data = await loadTexts([path], MARKED);
    assert.deepEqual([...data.ids], [1, ...codes("one"), 2, 1, ...codes("{two}"), 2]);
    await assert.rejects(loadLabelled([path], MARKED, CLASSES), /own\.txt:1: the row has no "label"/);
  }));

Deno.test("of rows that all are none classes are not missed: why they are none is said", () =>
  withFolder(async (folder) => {
    const path = join(folder, "rows.json");
    await Deno.writeTextFile(path, '[{"text": "a", "label": 1}]');
    await assert.rejects(classesOf([path]), /1 of 1 rows cannot be used/);
  }));

Deno.test("classes are named by the data where no model names them", async () => {
  const task = taskOf("classification", { head: LM_HEAD, takes: "tokens" });
  const own: HeadConfig = CLASSES;
  assert.equal(await task.headFor(own, ["nowhere.jsonl"]), own);
  const named = (labels: readonly unknown[]) =>
    withRows(labels.map((label) => ({ text: "a", label })), (path) => classesOf([path]));
  assert.deepEqual(await named(["b", "a", "b"]), ["a", "b"]);
  assert.deepEqual(await named([2, 0]), ["LABEL_0", "LABEL_1", "LABEL_2"]);
  await assert.rejects(() => named(["a", "a"]), /all rows have the label "a"/);
  await assert.rejects(() => named(["a", 1]), /expected names or numbers/);
  await assert.rejects(() => named([0.5, 1]), /the label 0.5 is the number of none/);
  await assert.rejects(() => named([null]), /no row has a label/);
});

Deno.test("the task is that of the model's head where none is named", () => {
  assert.equal(taskOf(undefined, { head: LM_HEAD, takes: "tokens" }).name, "causal-lm");
  assert.equal(taskOf(undefined, { head: CLASSES, takes: "tokens" }).name, "classification");
  assert.equal(taskOf(undefined, { head: VALUES, takes: "tokens" }).name, "regression");
  assert.throws(
    () => taskOf("clasification", { head: LM_HEAD, takes: "tokens" }),
    /There is no task "clasification".*classification/,
  );
});

Deno.test("sharedRoom() cuts the longer of two first, as transformers does", () => {
  // By tokenizers 0.22, for room 10, and 11.
  const cases = [[3, 20, 3, 7], [20, 3, 7, 3], [8, 9, 5, 5], [20, 20, 5, 5], [5, 5, 5, 5], [0, 12, 0, 10], [
    6,
    7,
    5,
    5,
  ]];
  for (const [a, b, keepsA, keepsB] of cases as [number, number, number, number][]) {
    assert.deepEqual(sharedRoom(a, b, 10), [keepsA, keepsB], `${a} and ${b}`);
  }
  assert.deepEqual([sharedRoom(8, 9, 11), sharedRoom(9, 8, 11), sharedRoom(20, 20, 11)], [[5, 6], [6, 5], [
    5,
    6,
  ]]);
});
