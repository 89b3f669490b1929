// SPDX-License-Identifier: Apache-2.0
/** What a flag's text is taken for. */
import { deepStrictEqual } from "node:assert/strict";
import { readValue } from "../../../lib/core/option_values.ts";
import type { OptionKind } from "../../../lib/core/options.ts";

Deno.test("readValue() takes decimal texts alone for numbers, and ranges that end", () => {
  const read = (kind: OptionKind, text: string): unknown => {
    const problems: string[] = [];
    return readValue({ kind, help: "" }, "--n", text, problems) ?? problems;
  };
  deepStrictEqual(
    ["5", " 5 ", "+5", "5.", ".5e1", "50E-1"].map((text) => read("number", text)),
    Array(6).fill(5),
  );
  deepStrictEqual(read("integers", "0-2,7"), [0, 1, 2, 7]);
  deepStrictEqual(read("indices", "0-2,7"), [0, 1, 2, 7]);
  deepStrictEqual(read("indices", "a=1,3-4,b=2"), { a: [1, 3, 4], b: [2] });
  deepStrictEqual(read("numbers", "a=b=1e1"), { "a=b": 10 });
  const none = [
    "0x10",
    "1e400",
    "100000000000000000000-100000000000000000000",
    "9007199254740992-9007199254740993",
    "2-1",
  ];
  for (const text of none) {
    deepStrictEqual(read("integers", text), [`--n is "${text}", expected a whole number`]);
  }
  deepStrictEqual(read("numbers", "a=0x10"), ['--n has "a=0x10", expected KEY=NUMBER']);
});
