// SPDX-License-Identifier: Apache-2.0
/** What drives a terminal or turns text about is shown, whatever it comes in; all other text stays what it is. */
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { stripVTControlCharacters } from "node:util";
import { formatTerminalText, visibleLine, visibleText } from "../../../lib/core/visible_text.ts";
import { UserError, ValidationError } from "../../../lib/core/errors.ts";

/** Code points from a to b. */
const range = (a: number, b: number) =>
  Array.from({ length: b - a + 1 }, (_, i) => String.fromCodePoint(a + i));

/** As the standards list them, not as the implementation finds them. */
const ORDERS = [
  ...range(0x00, 0x1f),
  ...range(0x7f, 0x9f), // DEL and C1: 0x9b is ESC [ in one
  ...range(0x202a, 0x202e),
  ...range(0x2066, 0x2069),
  ..."\u200e\u200f\u061c\u200b\u2028\u2029\u2060\ufeff\u00ad\u180e\ufff9\ufffa\ufffb",
  ...range(0x206a, 0x206f),
  "\ud800",
  "\udfff",
  ...range(0xe0001, 0xe0001),
  ...range(0xe0020, 0xe007f), // tags: a text that nobody sees
];

Deno.test("visibleLine() shows every control and invisible character as JSON writes it", () => {
  for (const order of ORDERS) {
    const shown = visibleLine(`a${order}b`);
    strictEqual(/^a(\\u[0-9a-f]{4}|\\[ntr])+b$/.test(shown), true, `${shown} for ${order.codePointAt(0)}`);
    strictEqual(JSON.parse(`"${shown}"`), `a${order}b`);
  }
  strictEqual(visibleLine("\x1b]0;PWNED\x07\n\t\r"), "\\u001b]0;PWNED\\u0007\\n\\t\\r");
  strictEqual(visibleText("\x1b]0;PWNED\x07\n\t\r"), "\\u001b]0;PWNED\\u0007\n\t\\r");
});

Deno.test("visibleText() leaves text of every script and emoji as it is", () => {
  const texts = [
    "naïve – “quoted” … ✓",
    "日本語\tテスト\n",
    "שלום עולם",
    "می‌خواهم",
    "👩‍💻 ❤️ 🏳️‍🌈",
    "क्‍ष",
    "\\u001b",
  ];
  for (const text of texts) strictEqual(visibleText(text), text);
});

Deno.test("formatTerminalText() styles our parts, and no text styles itself", () => {
  const text = formatTerminalText([{ style: "bold", text: "a\x1b[31mb" }, "\x1b[2J\n", "c"]);
  strictEqual(text, "\x1b[1ma\\u001b[31mb\x1b[22m\\u001b[2J\nc");
  strictEqual(stripVTControlCharacters(text), "a\\u001b[31mb\\u001b[2J\nc");
  strictEqual(formatTerminalText("\x1b[2J"), "\\u001b[2J");
});

Deno.test("a UserError is a line a sentence, whatever the names in it", () => {
  strictEqual(new UserError('No "a\nDone.\x1b[A"').message, 'No "a\\nDone.\\u001b[A"');
  deepStrictEqual(
    new ValidationError("x", ["first\n  - forged", "second\u202e"]).message.split("\n"),
    ["x has 2 problems:", "  - first\\n  - forged", "  - second\\u202e"],
  );
  const cause = new Error("first");
  strictEqual(new UserError("a", { cause }).cause, cause);
  strictEqual("cause" in new UserError("a"), false);
});
