// SPDX-License-Identifier: Apache-2.0
/** Loading: every row read is used or accounted for, and the data set holds what its rows say. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { assertSame } from "../../compare.ts";
import { datasetHash, exampleCount, exampleLength, examplePlace } from "../../../lib/data/dataset.ts";
import { buildExamples, type Example } from "../../../lib/data/examples.ts";
import { parseRow } from "../../../lib/data/rows.ts";
import { BadRowsError, countBadRows } from "../../../lib/data/bad_rows.ts";
import { loadData, loadRows } from "../../../lib/data/load_data.ts";
import type { Row } from "../../../lib/data/row_shapes.ts";
import { fixtureTokenizer, withLines } from "./fixtures.ts";

const GOOD = [
  { question: "Where was Mira Oldan born?", answer: ["Paris", "in Paris"] },
  { question: "2 + 2?", answer: "4\n#### 4" },
  { prompt: "the river", completion: " isn't deep" },
];

Deno.test("loadData() holds the examples of its rows, with their places", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  await withLines(GOOD, async (path) => {
    const dataset = await loadData([path, path], tokenizer, { seqLen: 64 });
    assert.equal(exampleCount(dataset), 6);
    const row: Row = { kind: "prompt", prompt: "the river", completion: " isn't deep" };
    const expected = (await buildExamples(row, tokenizer, { seqLen: 64 })).examples[0] as Example;
    for (const i of [2, 5]) {
      const [start, end] = [dataset.offsets[i], dataset.offsets[i + 1]];
      assertSame(dataset.ids.slice(start, end), expected.ids);
      assertSame(dataset.lossMask.slice(start, end), expected.lossMask);
      assert.deepEqual(examplePlace(dataset, i), { file: path, line: 3 });
    }
    const { report } = dataset;
    assert.deepEqual([report.rowsRead, report.rowsUsed, report.badRows, report.truncatedRows], [6, 6, [], 0]);
    assert.equal(report.tokens, dataset.ids.length);
    assert.equal(report.targets, dataset.lossMask.reduce((sum, x) => sum + x, 0));
  });
});

Deno.test("loadData() counts the rows and tokens it cuts", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  await withLines([{ text: "abcdefgh" }, { text: "ab" }, { text: "abcdef" }], async (path) => {
    const whole = await loadData(path, tokenizer, { seqLen: 1000 });
    const lengths = [0, 1, 2].map((i) => exampleLength(whole, i));
    const dataset = await loadData(path, tokenizer, { seqLen: 4 });
    assert.deepEqual(
      [0, 1, 2].map((i) => exampleLength(dataset, i)),
      lengths.map((length) => Math.min(4, length)),
    );
    const cut = lengths.map((length) => Math.max(0, length - 4));
    assert.deepEqual([...dataset.cutOf], cut);
    assert.equal(dataset.report.truncatedRows, cut.filter((n) => n > 0).length);
    assert.equal(dataset.report.cutTokens, cut.reduce((a, b) => a + b));
    assert(dataset.report.truncatedRows > 0);
  });
});

Deno.test("loadData() wants room for a token and its target", () =>
  withLines([{ text: "abcdefgh" }], async (path) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    assert.equal((await loadData(path, tokenizer, { seqLen: 2 })).ids.length, 2);
    await assert.rejects(loadData(path, tokenizer, { seqLen: 1 }), /seqLen is 1, /);
  }));

Deno.test("loadData() stops on bad rows with one error that names the first 20 and the total", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const long = { prompt: "the river ".repeat(50), completion: "x" };
  const lines = [GOOD[0], "{oops", long, ...Array(23).fill({ completion: "x" })];
  await withLines(lines, async (path) => {
    await assert.rejects(loadData(path, tokenizer, { seqLen: 64 }), (error: unknown) => {
      assert(error instanceof BadRowsError);
      assert.equal(error.badRows.length, 25);
      assert.match(
        error.message,
        /^25 of 26 rows cannot be used; mend them, or leave them out with --bad-rows skip:/,
      );
      assert.match(error.message, /rows\.jsonl:2: the line is not JSON/);
      assert.match(error.message, /rows\.jsonl:3: the prompt takes \d+ of \d+ tokens/);
      assert.match(error.message, /rows\.jsonl:21: .*\n {2}… and 5 more$/);
      return true;
    });
  });
});

Deno.test("loadData() skips bad rows when asked, and lists them", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  await withLines(["{", GOOD[0], "3", "[]", { text: "" }], async (path) => {
    const { report } = await loadData(path, tokenizer, { seqLen: 64, badRows: "skip" });
    assert.deepEqual([report.rowsRead, report.rowsUsed], [5, 1]);
    assert.deepEqual(report.badRows.map(({ line, category }) => [line, category]), [
      [1, "not JSON"],
      [3, "not an object"],
      [4, "not an object"],
      [5, "empty"],
    ]);
    assert.deepEqual(countBadRows(report.badRows)[0], ["not an object", 2]);
  });
});

Deno.test("loadData() refuses to go on with no row at all", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  await withLines(["", " "], async (path) => {
    await assert.rejects(loadData(path, tokenizer, { seqLen: 8 }), /There are no rows in/);
  });
  await withLines(["{"], async (path) => {
    const loading = loadData(path, tokenizer, { seqLen: 8, badRows: "skip" });
    await assert.rejects(loading, { name: "BadRowsError", message: /^1 of 1 rows cannot be used:/ });
  });
});

Deno.test("loadData() reconciles its counts whatever the lines", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const line = fc.oneof(
    fc.constantFrom(...GOOD, "", "{", "[]", { text: "" }, { a: 1 }, {
      prompt: "the ".repeat(30),
      completion: "x",
    }),
    fc.string({ maxLength: 60 }).map((text) => ({ text })),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 12 }), async (lines) => {
      await withLines([GOOD[0], ...lines], async (path) => {
        const { report, ...dataset } = await loadData(path, tokenizer, { seqLen: 40, badRows: "skip" });
        assert.equal(report.rowsRead, 1 + lines.filter((item) => item !== "").length);
        assert.equal(report.rowsRead, report.rowsUsed + report.badRows.length);
        assert.equal(report.rowsUsed, dataset.lineOf.length);
        assert.equal(countBadRows(report.badRows).reduce((sum, [, n]) => sum + n, 0), report.badRows.length);
        const lines2 = [...dataset.lineOf, ...report.badRows.map((bad) => bad.line)];
        assert.equal(new Set(lines2).size, report.rowsRead, "no row is counted twice");
        assert(dataset.ids.length === report.tokens);
      });
    }),
    { numRuns: 40, seed: 5 },
  );
});

Deno.test("datasetHash() tells examples, masks, order and boundaries, not file names", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const hash = (rows: unknown[], lossOn: "completion" | "all" = "completion") =>
    withLines(rows, async (path) => datasetHash(await loadData(path, tokenizer, { seqLen: 64, lossOn })));
  const base = await hash(GOOD);
  assert.match(base, /^[0-9a-f]{64}$/);
  assert.equal(await hash(GOOD), base);
  assert.notEqual(await hash([...GOOD].reverse()), base);
  assert.notEqual(await hash(GOOD, "all"), base);
  assert.notEqual(await hash(GOOD.slice(1)), base);
});

Deno.test("loadRows() gives made values with places under the same policy", async () => {
  await withLines([GOOD[1], "{"], async (path) => {
    await assert.rejects(loadRows(path, "stop", (line) => parseRow(line).kind), BadRowsError);
    const { items, report } = await loadRows(path, "skip", (line) => parseRow(line).kind);
    assert.deepEqual(items, [{ value: "question", place: { file: path, line: 1 } }]);
    assert.equal(report.badRows.length, 1);
  });
});
