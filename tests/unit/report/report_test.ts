// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import {
  byteUnit,
  formatBytes,
  formatCount,
  formatLoss,
  formatMilliseconds,
  formatSeconds,
  formatShare,
} from "../../../lib/report/format.ts";
import { visibleLine } from "../../../lib/core/visible_text.ts";
import { createProgress } from "../../../lib/report/progress.ts";
import { cutToWidth, displayWidth } from "../../../lib/report/text_width.ts";
import { formatTable, looksNumeric } from "../../../lib/report/table.ts";

/** Stands for what a terminal is sent to empty its line. */
const ERASED = "<erased>";

Deno.test("formatBytes() and its kin choose units at their borders, of what is left when digits are cut", () => {
  deepStrictEqual(
    [0, 1023, 1024, 1536, 1024 ** 2 - 6, 1024 ** 2 - 5, 1024 ** 2, 1024 ** 3, 2 ** 40, 2 ** 50].map(
      formatBytes,
    ),
    [
      ...[
        "0 B",
        "1023 B",
        "1.00 KiB",
        "1.50 KiB",
        "1023.99 KiB",
        "1.00 MiB",
        "1.00 MiB",
        "1.00 GiB",
        "1.00 TiB",
      ],
      "1024.00 TiB",
    ],
  );
  deepStrictEqual([0, 1023, 1024, 1024 ** 2 - 5, 3 * 1024 ** 3, 2 ** 50].map(byteUnit), [
    ...[1, 1, 1024, 1024 ** 2, 1024 ** 3, 1024 ** 4],
  ]);
  deepStrictEqual(
    [7, 7.6, 9999, 10_000, 12_345, 999_499, 999_500, 1_234_567, 999_499_999, 999_500_000].map(formatCount),
    [
      ...["7", "8", "9999", "10.0 k", "12.3 k", "999 k", "1.00 M", "1.23 M", "999 M", "1.00 G"],
    ],
  );
  deepStrictEqual([2.5e9, 999.4e9, 999.5e9, 1e12].map(formatCount), ["2.50 G", "999 G", "1.00 T", "1.00 T"]);
  deepStrictEqual(
    [0, 0.04, 3.21, 9.94, 10, 59.4, 59.6, 200, 3599.4, 3599.5, 3725, 90_059, Infinity, NaN].map(
      formatSeconds,
    ),
    [
      ...[
        "0.0 s",
        "0.0 s",
        "3.2 s",
        "9.9 s",
        "10 s",
        "59 s",
        "1 min 00 s",
        "3 min 20 s",
        "59 min 59 s",
        "1 h 00 min",
      ],
      ...["1 h 02 min", "25 h 00 min", "?", "?"],
    ],
  );
  deepStrictEqual([0, 0.26, 9.94, 10, 999.4, 999.5, 61_000].map(formatMilliseconds), [
    ...["0.0 ms", "0.3 ms", "9.9 ms", "10 ms", "999 ms", "1.0 s", "1 min 01 s"],
  ]);
  deepStrictEqual([0, 0.0375, 0.5, 1].map(formatShare), ["0.0 %", "3.8 %", "50.0 %", "100.0 %"]);
  deepStrictEqual([1.23456, NaN, Infinity, -Infinity].map(formatLoss), [
    "1.2346",
    "NaN",
    "Infinity",
    "-Infinity",
  ]);
});

Deno.test("formatTable() aligns a column right when every cell below its head starts with a number", () => {
  const numbers = ["7", "-3", "+2.5", "±1", "1,000", "1.50 KiB", "12 ms"];
  const texts = ["", "x7", "7x", "-", "1/2", "3%", "v 3"];
  deepStrictEqual(numbers.filter((text) => !looksNumeric(text)), []);
  deepStrictEqual(texts.filter(looksNumeric), []);
  deepStrictEqual(formatTable([["a", "b"], ["1", "22"], ["333", "-"], ["4"]]).split("\n"), [
    "  a  b",
    "───  ──",
    "  1  22",
    "333  -",
    "  4",
  ]);
  deepStrictEqual(formatTable([["1", "22"]]).split("\n"), ["1  22", "─  ──"]);
});

Deno.test("formatTable() aligns numbers right and wide characters by their columns", () => {
  const table = formatTable([["name", "count"], ["ab", "7"], ["日本語", "1234"]]);
  deepStrictEqual(table.split("\n"), [
    "name    count",
    "──────  ─────",
    "ab          7",
    "日本語   1234",
  ]);
  strictEqual(formatTable([]), "");
  deepStrictEqual(formatTable([["a\tb", "c"], ["\x1b[2J\n\u202e", "7"]]).split("\n"), [
    "a\\tb               c",
    "─────────────────  ─",
    "\\u001b[2J\\n\\u202e  7",
  ], "a cell is one line of what can be seen");
});

/** What progress writes, as the clock goes on by `stepMs` with each piece of work. */
function progressText(
  isTerminal: boolean,
  stepMs: number,
  pieces: readonly number[],
  startMs?: number,
): string[] {
  const written: string[] = [];
  let clock = 0;
  const output = {
    isTerminal,
    columns: 60,
    write: (piece: string) => void written.push(piece),
    eraseLine: () => void written.push(ERASED),
  };
  const options = { firstDone: 4, now: () => clock, ...(startMs !== undefined && { startMs }) };
  const progress = createProgress(output, "training", 10, options);
  for (const done of pieces) {
    clock += stepMs;
    progress.update(done, `loss ${done}`);
  }
  progress.line("saved");
  progress.finish();
  progress.finish();
  return written;
}

Deno.test("createProgress() redraws one line on a terminal: a bar, how far, the time left at the pace so far", () => {
  deepStrictEqual(
    progressText(true, 1000, [5, 7, 10]),
    [
      "training ████████████░░░░░░░░░░░░ 5/10  5.0 s left  loss 5",
      ERASED,
      "training █████████████████░░░░░░░ 7/10  2.0 s left  loss 7", // 3 pieces in 2 s, 3 more
      ERASED,
      "training ████████████████████████ 10/10  0.0 s left  loss 1",
      ERASED,
      "saved\n",
    ].map((line) => line.slice(0, 59)),
    "one column stays free: a full line would wrap",
  );
  const redrawn = (stepMs: number) =>
    progressText(true, stepMs, [5, 6, 7, 10]).filter((text) => text !== ERASED);
  deepStrictEqual(redrawn(59).map((text) => text.match(/\d+\/10/)?.[0]), [
    "5/10",
    "7/10",
    "10/10",
    undefined,
  ]);
  strictEqual(redrawn(60).length, 5);
  const last: string[] = [];
  const output = { isTerminal: true, write: (text: string) => void last.push(text), eraseLine: () => {} };
  const progress = createProgress(output, "a", 3, { now: () => 7 });
  progress.update(0, "b");
  progress.finish();
  progress.finish();
  deepStrictEqual(
    last,
    ["a ░░░░░░░░░░░░░░░░░░░░░░░░ 0/3  ? left  b", "\n"],
    "no pace yet, and no end of columns",
  );
});

Deno.test("createProgress() prints whole lines elsewhere, seldom, and the last one; time counts from when work began", () => {
  deepStrictEqual(progressText(false, 1000, [5, 6, 7, 8, 9, 10]), [
    "training 5/10  loss 5  5.0 s left\n",
    "training 10/10  loss 10  0.0 s left\n",
    "saved\n",
  ]);
  deepStrictEqual(progressText(false, 5000, [5, 7], -15_000), [
    "training 5/10  loss 5  1 min 40 s left\n", // 20 s a piece
    "training 7/10  loss 7  25 s left\n",
    "saved\n",
  ]);
  deepStrictEqual(progressText(false, 4999, [5, 7]).length, 2);
});

Deno.test("createProgress() cuts its line to the terminal by columns, not by characters", () => {
  const written: string[] = [];
  const output = {
    isTerminal: true,
    columns: 80,
    write: (text: string) => written.push(text),
    eraseLine: () => written.push(ERASED),
  };
  const progress = createProgress(output, "answering", 2, { now: () => 0 });
  progress.update(2, "北京".repeat(30));
  const line = written.at(-1) ?? "";
  // One column stays free: a full line would wrap. Two columns a character may leave one more.
  ok(displayWidth(line) === 79 || displayWidth(line) === 78, `${displayWidth(line)} columns`);
  match(line, /北京$|京北$/);
  progress.update(2, "\x1b[8m\n\t\u2066".repeat(30));
  strictEqual(written.at(-1)?.length, 79, "what a note shows for a control character is counted too");
  strictEqual(visibleLine(written.at(-1) ?? ""), written.at(-1));
});

Deno.test("displayWidth() and cutToWidth() count what a terminal shows", () => {
  strictEqual(displayWidth("abc"), 3);
  strictEqual(displayWidth("北京"), 4);
  strictEqual(displayWidth("é"), 1, "a letter with a combining accent");
  strictEqual(displayWidth("👩‍💻"), 2, "characters joined into one");
  strictEqual(displayWidth("\x1b[1mabc\x1b[0m"), 3);
  strictEqual(cutToWidth("a北京b", 4), "a北");
  strictEqual(cutToWidth("a👩‍💻b", 3), "a👩‍💻");
  strictEqual(cutToWidth("abc", 0), "");
  strictEqual(cutToWidth("abc", 9), "abc");
});
