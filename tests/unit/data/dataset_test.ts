// SPDX-License-Identifier: Apache-2.0
/** Data sets as arrays: what the builder puts where, their first rows, and their hash. */
import assert from "node:assert/strict";
import { assertSame } from "../../compare.ts";
import { type Dataset, DatasetBuilder, datasetHash, firstRows } from "../../../lib/data/dataset.ts";

/** An example of these tokens, each a target but the first, from a line of a file. */
type Placed = readonly [file: string, line: number, ids: readonly number[], cutTokens?: number];

function datasetOf(examples: readonly Placed[], masks?: readonly (readonly number[])[]): Dataset {
  const builder = new DatasetBuilder(["a", "b"]);
  examples.forEach(([file, line, ids, cutTokens = 0], i) => {
    const lossMask = Uint8Array.from(masks?.[i] ?? ids.map((_, at) => at === 0 ? 0 : 1));
    builder.add({ ids: Int32Array.from(ids), lossMask, cutTokens }, { file, line });
  });
  return builder.finish(9, { rowsRead: 7, rowsUsed: 6, badRows: [], warnings: [] });
}

/** Line 2 of a gives two examples; so does line 3 of b, beside line 3 of a. */
const EXAMPLES: readonly Placed[] = [
  ["a", 1, [1, 2, 3]],
  ["a", 2, [4, 5], 7],
  ["a", 2, [6, 7]],
  ["a", 3, [8, 9, 10, 11], 2],
  ["b", 3, [12, 13]],
  ["b", 3, [14, 15], 1],
];

Deno.test("DatasetBuilder puts examples one after the other, with their places and what was cut", () => {
  const { report, ...data } = datasetOf(EXAMPLES);
  assertSame(data, {
    ids: Int32Array.from({ length: 15 }, (_, i) => i + 1),
    lossMask: Uint8Array.of(0, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1),
    offsets: Float64Array.of(0, 3, 5, 7, 11, 13, 15),
    files: ["a", "b"],
    fileOf: Uint32Array.of(0, 0, 0, 0, 1, 1),
    lineOf: Uint32Array.of(1, 2, 2, 3, 3, 3),
    cutOf: Uint32Array.of(0, 7, 0, 2, 0, 1),
    seqLen: 9,
  });
  assert.deepEqual(report, {
    ...{ rowsRead: 7, rowsUsed: 6, badRows: [], warnings: [] },
    ...{ truncatedRows: 3, cutTokens: 10, tokens: 15, targets: 9 },
  });
});

Deno.test("DatasetBuilder loses nothing as it grows, to its last place and past it", () => {
  for (const lengths of [[1023, 1], [1024], [1024, 1], [1000, 1048, 1], [1, 5000, 7000]]) {
    let id = 0;
    const data = datasetOf(lengths.map((length, i) => ["a", i + 1, Array.from({ length }, () => id++)]));
    assertSame(data.ids, Int32Array.from({ length: id }, (_, i) => i), `${lengths}`);
    assert.equal(data.report.targets, id - lengths.length);
  }
});

Deno.test("firstRows() takes rows whole, whatever examples they give, and counts what is theirs", () => {
  const data = datasetOf(EXAMPLES);
  for (
    const [count, kept, counts] of [
      [0, 0, [0, 0, 0, 0, 0]],
      [1, 1, [1, 0, 0, 3, 2]],
      [2, 3, [2, 1, 7, 7, 4]],
      [3, 4, [3, 2, 9, 11, 7]],
      [4, 6, [4, 3, 10, 15, 9]],
      [9, 6, [4, 3, 10, 15, 9]],
    ] as const
  ) {
    const first = firstRows(data, count);
    const { rowsUsed, truncatedRows, cutTokens, tokens, targets } = first.report;
    assert.deepEqual([rowsUsed, truncatedRows, cutTokens, tokens, targets], counts, `${count} rows`);
    const { report: _, ...arrays } = first;
    const { report: __, ...expected } = datasetOf(EXAMPLES.slice(0, kept));
    assertSame(arrays, expected, `${count} rows`);
  }
});

Deno.test("datasetHash() changes with a token, a mask, a boundary and the order, not with places", () => {
  const ids: Placed[] = [["a", 1, [1, 2, 3]], ["a", 2, [4, 5]]];
  const mask = [[0, 1, 1], [0, 1]];
  const base = datasetHash(datasetOf(ids, mask));
  assert.equal(datasetHash(datasetOf([["b", 9, [1, 2, 3], 1], ["a", 2, [4, 5]]], mask)), base);
  const others = [
    datasetOf([["a", 1, [1, 2, 4]], ["a", 2, [4, 5]]], mask),
    datasetOf(ids, [[0, 1, 0], [0, 1]]),
    datasetOf([["a", 1, [1, 2]], ["a", 2, [3, 4, 5]]], [[0, 1], [1, 0, 1]]),
    datasetOf([["a", 2, [4, 5]], ["a", 1, [1, 2, 3]]]),
  ].map(datasetHash);
  assert.equal(new Set([base, ...others]).size, 5);
});
