// SPDX-License-Identifier: Apache-2.0
/** Rows and lines: what is read, what is refused, and where. */
import assert from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import { readLines } from "../../../lib/data/lines.ts";
import { RowError } from "../../../lib/data/row_error.ts";
import { parseRow, readRows, type RowResult } from "../../../lib/data/rows.ts";
import { withLines } from "./fixtures.ts";

function parse(value: unknown) {
  return parseRow(JSON.stringify(value));
}

Deno.test("parseRow() knows every shape", () => {
  assert.deepEqual(parse({ prompt: "p", completion: "c", id: 7 }), {
    kind: "prompt",
    prompt: "p",
    completion: "c",
  });
  assert.deepEqual(parse({ instruction: "i", output: "o" }), {
    kind: "instruction",
    instruction: "i",
    input: "",
    output: "o",
  });
  assert.deepEqual(
    parse({ instruction: "i", input: null, output: "o" }),
    parse({ instruction: "i", input: "", output: "o" }),
  );
  assert.deepEqual(parse({ instruction: "i", input: "x", output: "o", text: "all of it" }), {
    kind: "instruction",
    instruction: "i",
    input: "x",
    output: "o",
  });
  assert.deepEqual(parse({ question: "q", answer: "a" }), {
    kind: "question",
    question: "q",
    answers: ["a"],
  });
  assert.deepEqual(parse({ question: "q", answer: ["a", "b"] }), {
    kind: "question",
    question: "q",
    answers: ["a", "b"],
  });
  assert.deepEqual(parse({ text: "t" }), { kind: "text", text: "t" });
  const messages = [{ role: "user", content: "" }, { role: "assistant", content: "y" }];
  assert.deepEqual(parse({ messages }), { kind: "messages", messages });
});

const BAD: readonly [unknown, string, RegExp][] = [
  ["{", "not JSON", /^the line is not JSON: /],
  ['{"text":"a","text":"b"}', "not JSON", /^the line has the key "text" twice: keep one$/],
  ['{"text":"a","x":[{"y":1,"y":1}]}', "not JSON", /^the line has the key "x\.y" twice/],
  [`{"text":${"[".repeat(100_000)}`, "not JSON", /^the line has more than 500 levels/],
  ["[1]", "not an object", /is a list, expected an object such as \{prompt, completion\}/],
  ["null", "not an object", /is null/],
  ["3", "not an object", /is a number/],
  [{}, "unknown shape", /has no fields/],
  [{ prompt: "p" }, "unknown shape", /has only "prompt", expected/],
  [{ prompt: "p", completion: 3 }, "wrong type", /"completion" is a number, expected a string/],
  [{ prompt: "p", completion: " \n" }, "empty", /"completion" is empty/],
  [{ prompt: "", completion: "c" }, "empty", /"prompt" is empty/],
  [{ instruction: "i", input: [], output: "o" }, "wrong type", /"input" is a list/],
  [{ question: "q", answer: [] }, "empty", /empty list/],
  [{ question: "q", answer: ["a", 1] }, "wrong type", /"answer\[1\]" is a number/],
  [{ question: "q", answer: ["a", ""] }, "empty", /"answer\[1\]" is empty/],
  [{ question: "q", answer: { a: 1 } }, "wrong type", /"answer" is an object, expected a string or a list/],
  [{ text: "" }, "empty", /"text" is empty/],
  [{ messages: "hi" }, "wrong type", /"messages" is a string/],
  [{ messages: [] }, "empty", /"messages" is an empty list/],
  [{ messages: ["x"] }, "wrong type", /"messages\[0\]" is a string/],
  [{ messages: [{ role: "user" }] }, "wrong type", /"messages\[0\]\.content" is missing/],
  [{ messages: [{ content: "x" }] }, "wrong type", /"messages\[0\]\.role" is missing/],
  [{ messages: [{ role: "user", content: "x" }] }, "no assistant turn", /\(roles: "user"\)/],
  [{ messages: [{ role: "assistant", content: " " }] }, "empty", /assistant turn is empty/],
];

for (const [value, category, reason] of BAD) {
  const line = typeof value === "string" ? value : JSON.stringify(value);
  Deno.test(`parseRow() refuses ${line} as "${category}"`, () => {
    assert.throws(() => parseRow(line), (error: unknown) => {
      assert(error instanceof RowError);
      assert.equal(error.category, category);
      assert.match(error.message, reason);
      return true;
    });
  });
}

async function collect(paths: readonly string[]): Promise<RowResult[]> {
  return await Array.fromAsync(readRows(paths, parseRow));
}

Deno.test("readRows() gives file and line of good and bad rows, and passes over blank lines", async () => {
  await withLines([{ text: "one" }, "", "  \t", "oops", { text: "two" }], async (path) => {
    const rows = await collect([path, path]);
    const lines = rows.map((row) => row.ok ? row.place.line : -row.bad.line);
    assert.deepEqual(lines, [1, -4, 5, 1, -4, 5]);
    const bad = rows[1];
    assert(bad !== undefined && !bad.ok);
    assert.equal(bad.bad.file, path);
  });
});

Deno.test("readRows() reads a byte-order mark, CRLF, U+2028 and a last line without newline", async () => {
  await withLines(["\ufeff" + '{"text":"a"}\r', '{"text":"b\u2028c"}\r'], async (path) => {
    const rows = await collect([path]);
    assert.deepEqual(rows.map((row) => row.ok && row.row), [
      { kind: "text", text: "a" },
      { kind: "text", text: "b\u2028c" },
    ]);
  });
});

Deno.test("readRows() says which line is not UTF-8, and goes on", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "x.jsonl");
    const good = new TextEncoder().encode('{"text":"é"}\n');
    await Deno.writeFile(path, new Uint8Array([...good, 0xff, 0xfe, 10, ...good]));
    const rows = await collect([path]);
    assert.deepEqual(rows.map((row) => row.ok), [true, false, true]);
    const bad = rows[1];
    assert(bad !== undefined && !bad.ok);
    assert.match(bad.bad.reason, /not valid UTF-8/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("readRows() names every path it cannot read before any row", async () => {
  await withLines([{ text: "a" }], async (path) => {
    await assert.rejects(collect([path, `${path}.gone`, path.replace(/\/[^/]*$/, "")]), {
      name: "UserError",
      message: /rows\.jsonl\.gone" does not exist; ".*" is a folder/,
    });
    await assert.rejects(collect([]), /no data file was given/);
  });
});

Deno.test("readLines() gives the lines of a text whatever their lengths", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "x");
    const line = fc.oneof(fc.string({ unit: "binary" }), fc.nat(70_000).map((n) => "é".repeat(n)));
    await fc.assert(
      fc.asyncProperty(
        fc.array(line.map((text) => text.replaceAll("\n", "")), { maxLength: 5 }),
        async (lines) => {
          await Deno.writeTextFile(path, lines.join("\n"));
          const wellFormed = lines.map((text) => text.toWellFormed().replace(/^\ufeff/, ""));
          const expected = wellFormed.map((text, i) => ({ number: i + 1, text })).filter(({ text }) =>
            text.trim() !== ""
          );
          assert.deepEqual(await Array.fromAsync(readLines(path)), expected);
        },
      ),
      { numRuns: 40, seed: 1 },
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
