// SPDX-License-Identifier: Apache-2.0
/** Previews show every token, its mask and what was cut. */
import assert from "node:assert/strict";
import { stripVTControlCharacters } from "node:util";
import { loadData } from "../../../lib/data/load_data.ts";
import {
  formatPreview,
  type PreviewExample,
  previewExamples,
  previewText,
} from "../../../lib/data/preview.ts";
import { fixtureTokenizer, withLines } from "./fixtures.ts";

const ROWS = [{ prompt: " the", completion: "é\n" }, { text: "\u001b[31mred" }];

Deno.test("previewExamples() gives tokens with text and mask, up to the number there is", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  await withLines(ROWS, async (path) => {
    const dataset = await loadData(path, tokenizer, { seqLen: 5, chatTemplate: "off" });
    const [first, second, ...more] = previewExamples(dataset, { tokenizer }, 9);
    assert(first !== undefined && second !== undefined);
    assert.equal(more.length, 0);
    assert.deepEqual(first.place, { file: path, line: 1 });
    assert.equal(first.tokens.map(({ text }) => text).join(""), " theé\n<|endoftext|>");
    assert.deepEqual(first.tokens.map(({ loss }) => loss), [false, true, true, true, true]);
    assert.deepEqual([first.targets, first.cutTokens], [4, 0]);
    assert.equal(second.cutTokens, (await tokenizer.encode("\u001b[31mred")).length + 1 - 5);
    for (const count of [0, 1, 2]) assert.equal(previewExamples(dataset, { tokenizer }, count).length, count);
  });
});

Deno.test("formatPreview() brackets targets, or colours them, and shows control characters", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  await withLines(ROWS, async (path) => {
    const dataset = await loadData(path, tokenizer, { seqLen: 5, chatTemplate: "off" });
    const examples = previewExamples(dataset, { tokenizer }, 2);
    const plain = formatPreview(examples, { color: false });
    assert.match(plain, /rows\.jsonl:1 {2}5 tokens, 4 of them targets\n the⟦\|é\|↵\n\|<\|endoftext\|>⟧\n/);
    assert.match(plain, /rows\.jsonl:2 {2}5 tokens, 4 of them targets, \d more cut off\n\\u001b⟦\[/);
    assert(!plain.includes("\u001b"), "data cannot drive the terminal");
    const colored = formatPreview(examples, { color: true });
    assert(colored.includes("\u001b[32m"));
    assert(stripVTControlCharacters(colored).includes(" theé↵\n<|endoftext|>"));
  });
});

Deno.test("formatPreview() dims what is given, and shows targets green, underlined and bold by turns", () => {
  const tokens = [["a", false], ["b", true], ["c", true], ["d", false], ["e", true]] as const;
  const example: PreviewExample = {
    place: { file: "x.jsonl", line: 7 },
    tokens: tokens.map(([text, loss], id) => ({ id, text, loss })),
    targets: 3,
    cutTokens: 1,
  };
  const head = "x.jsonl:7  5 tokens, 3 of them targets, 1 more cut off";
  assert.equal(formatPreview([example], { color: false }), `${head}\na⟦b|c⟧d⟦e⟧\n`);
  const whole = { ...example, cutTokens: 0 };
  assert.match(
    formatPreview([whole, whole], { color: false }),
    /3 of them targets\na⟦b\|c⟧d⟦e⟧\n\nx\.jsonl:7/,
  );
  const styles = [...previewText([example], { color: true })].filter((part) => typeof part !== "string");
  assert.deepEqual(styles, [
    { style: "bold", text: head },
    { style: "dim", text: "a" },
    { style: ["green", "bold"], text: "b" },
    { style: ["green", "underline"], text: "c" },
    { style: "dim", text: "d" },
    { style: ["green", "underline"], text: "e" },
  ]);
});
