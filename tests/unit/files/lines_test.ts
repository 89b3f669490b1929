// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type FileLine, readLines, readLinesBackwards, readRange } from "../../../lib/files/lines.ts";
import { withFolder } from "../../fixtures/folder.ts";

const encoder = new TextEncoder();

/** What the lines of a text are by definition. */
function linesOf(text: string, maxBytes: number): FileLine[] {
  let start = 0;
  return (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).map((line) => {
    const bytes = encoder.encode(line).length;
    start += bytes;
    const shown = line.replace(/\n$/, "");
    return {
      start: start - bytes,
      end: start,
      whole: line.endsWith("\n"),
      text: bytes > maxBytes ? null : shown,
    };
  });
}

/** Lines of many lengths: of nothing, of a block and its neighbours, and longer than what is given as text. */
function textOf(lengths: readonly number[]): string {
  return lengths.map((length, i) => "é".repeat(length % 2) + String(i % 10).repeat(length)).join("\n");
}

const BLOCK = 1 << 20;
const LENGTHS = [
  0,
  3,
  0,
  0,
  BLOCK - 10,
  1,
  BLOCK,
  7,
  2 * BLOCK + 1,
  5,
  BLOCK / 16,
  65_535,
  65_536,
  65_537,
  2,
  0,
];
const TEXTS = [
  "",
  "\n",
  "a",
  "a\n",
  "\n\na",
  "\r\nb\r\n",
  textOf(LENGTHS),
  textOf([...LENGTHS, 9, 0]),
  textOf([3 * BLOCK]),
];
const LIMITS = [4, 65_536, BLOCK, 8 * BLOCK];

Deno.test("readLines() gives every whole line with its place, long ones without text, from any line on", () =>
  withFolder(async (folder) => {
    const path = `${folder}/lines`;
    for (const text of TEXTS) {
      Deno.writeTextFileSync(path, text);
      for (const limit of LIMITS) {
        const expected = linesOf(text, limit).filter(({ whole }) => whole);
        for (const from of [0, expected[4]?.start ?? 0]) {
          const found = (await Array.fromAsync(readLines(path, from, limit))).flat();
          deepStrictEqual(found, expected.filter(({ start }) => start >= from), `${text.length} ${limit}`);
        }
      }
    }
  }));

Deno.test("readLinesBackwards() gives every line from the last to the first", () =>
  withFolder(async (folder) => {
    const path = `${folder}/lines`;
    for (const text of TEXTS) {
      Deno.writeTextFileSync(path, text);
      for (const limit of LIMITS) {
        const found = await Array.fromAsync(readLinesBackwards(path, limit));
        deepStrictEqual(found, linesOf(text, limit).reverse(), `${text.length} ${limit}`);
      }
    }
  }));

Deno.test("readRange() ends where the file does", () =>
  withFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/file`, "abcdef");
    const text = async (start: number, end: number) =>
      new TextDecoder().decode(await readRange(`${folder}/file`, start, end));
    strictEqual(await text(1, 3), "bc");
    strictEqual(await text(4, 99), "ef");
    strictEqual(await text(9, 12), "");
  }));
