// SPDX-License-Identifier: Apache-2.0
/** Tables: what Python's csv module makes of them, and what is no table. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { isTable, readTableRows } from "../../../lib/data/table_rows.ts";
import { withFolder } from "../../fixtures/folder.ts";

/** Rows of a table by their lines: cells by column, or why there are none. */
function rowsOf(name: string, bytes: string | Uint8Array): Promise<[number, unknown][]> {
  return withFolder(async (folder) => {
    const path = join(folder, name);
    await Deno.writeFile(path, typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
    const rows: [number, unknown][] = [];
    for await (const { line, fields } of readTableRows(path)) {
      try {
        rows.push([line, fields()]);
      } catch (error) {
        rows.push([line, (error as Error).message]);
      }
    }
    return rows;
  });
}

Deno.test("readTableRows() reads CSV as RFC 4180 has it: quotes, commas and lines within cells, any line ends", async () => {
  const text = '\ufeffa,b\r\n1,"x, ""y"""\r\n\r\n,\n"two\n\nlines",z\nsay "hi",last';
  assert.deepEqual(await rowsOf("t.csv", text), [
    [2, { a: "1", b: 'x, "y"' }],
    [4, { a: "", b: "" }],
    [5, { a: "two\n\nlines", b: "z" }],
    [8, { a: 'say "hi"', b: "last" }],
  ]);
});

Deno.test("readTableRows() reads TSV without quotes, as GLUE has it", async () => {
  assert.deepEqual(await rowsOf("T.TSV", 'a\tb\r\n"x\ty, z\n'), [[2, { a: '"x', b: "y, z" }]]);
});

Deno.test("readTableRows() says which rows are none, and goes on behind them", async () => {
  const text = 'a,b\n1\n1,2,3\n1,2\n"x"y,2\n3,4\n"never closed,5\n6,7\n';
  assert.deepEqual(await rowsOf("t.csv", text), [
    [2, "the row has 1 cells, the first line 2"],
    [3, "the row has 3 cells, the first line 2"],
    [4, { a: "1", b: "2" }],
    [5, "the row is not valid UTF-8, or has a quote that is not closed"],
    [6, { a: "3", b: "4" }],
    [7, "the row is not valid UTF-8, or has a quote that is not closed"],
  ]);
  const latin = Uint8Array.of(0x61, 0x0a, 0xe9, 0x0a, 0x62, 0x0a);
  assert.deepEqual((await rowsOf("t.csv", latin)).map(([line]) => line), [2, 3]);
  assert.deepEqual(await rowsOf("t.csv", ""), []);
});

Deno.test("readTableRows() gives up a quote that nobody closes before it holds the file", async () => {
  const text = `a\n"${"x\n".repeat(3_000_000)}"\n1\n`;
  assert.deepEqual((await rowsOf("t.csv", text)).map(([line]) => line), [2]);
});

Deno.test("isTable() goes by the name", () => {
  assert.deepEqual(["a.csv", "b.TSV", "c.jsonl", "csv"].map(isTable), [true, true, false, false]);
});
