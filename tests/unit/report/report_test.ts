// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import {
  formatBytes,
  formatCount,
  formatLoss,
  formatSeconds,
  formatShare,
} from "../../../lib/report/format.ts";
import { visibleLine } from "../../../lib/core/visible_text.ts";
import { createProgress } from "../../../lib/report/progress.ts";
import { cutToWidth, displayWidth } from "../../../lib/report/text_width.ts";
import { formatTable } from "../../../lib/report/table.ts";

/** Stands for what a terminal is sent to empty its line. */
const ERASED = "<erased>";

Deno.test("formatBytes() and its kin choose units at their borders", () => {
  deepStrictEqual([0, 1023, 1024, 1536, 2 ** 40].map(formatBytes), [
    "0 B",
    "1023 B",
    "1.00 KiB",
    "1.50 KiB",
    "1.00 TiB",
  ]);
  deepStrictEqual([7, 9999, 12_345, 1_234_567, 2.5e9].map(formatCount), [
    "7",
    "9999",
    "12.3 k",
    "1.23 M",
    "2.50 G",
  ]);
  deepStrictEqual([3.21, 59.6, 200, 3725, Infinity].map(formatSeconds), [
    "3.2 s",
    "1 min 00 s",
    "3 min 20 s",
    "1 h 02 min",
    "?",
  ]);
  strictEqual(formatShare(0.0375), "3.8 %");
  strictEqual(formatLoss(NaN), "NaN");
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

Deno.test("createProgress() redraws one line on a terminal and prints whole lines elsewhere", () => {
  const show = (isTerminal: boolean) => {
    let text = "";
    let clock = 0;
    const progress = createProgress(
      { isTerminal, columns: 50, write: (piece) => text += piece, eraseLine: () => text += ERASED },
      "training",
      10,
      { firstDone: 4, now: () => clock },
    );
    for (let done = 5; done <= 10; done++) {
      clock += 1000;
      progress.update(done, `loss ${done}`);
    }
    progress.line("saved");
    progress.finish();
    return text;
  };
  const terminal = show(true);
  strictEqual(terminal.split("\n").length, 2, "only the saved line ends in a newline");
  ok(terminal.split(ERASED).every((line) => line.length < 50), "no line wraps");
  strictEqual(terminal.split(ERASED).length, 7);
  // Plain: the first update, the one 5 seconds later which is also the last.
  deepStrictEqual(show(false).trimEnd().split("\n"), [
    "training 5/10  loss 5  5.0 s left",
    "training 10/10  loss 10  0.0 s left",
    "saved",
  ]);
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
