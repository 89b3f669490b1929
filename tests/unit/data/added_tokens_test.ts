// SPDX-License-Identifier: Apache-2.0
/** Tokens that are added to a tokenizer: ids and texts of transformers' `add_tokens`, and files that open as the same. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type AddedTokenChoice, chosenTokens, withAddedTokens } from "../../../lib/data/added_tokens.ts";
import { createTokenizer, loadTokenizer, type Tokenizer } from "../../../lib/data/tokenizer.ts";
import { readTokenizerFiles, writeTokenizerFiles } from "../../../lib/data/tokenizer_files.ts";
import { withFolder } from "../../fixtures/folder.ts";

const TOKENIZERS = fileURLToPath(new URL("../../fixtures/tokenizers", import.meta.url));
const ADDED: readonly AddedTokenChoice[] = [
  { content: "<mark>", special: false },
  { content: "new word", special: false },
  { content: "<obj>", special: true },
];

// transformers 5.24: AutoTokenizer, add_tokens(["<mark>", "new word"]), add_special_tokens of "<obj>".
const EXPECTED: Readonly<Record<string, readonly (readonly [string, readonly number[], string])[]>> = {
  byte_level: [
    ["a <mark> b", [67, 223, 340, 223, 68], "a <mark> b"],
    ["x<obj>y new word", [90, 342, 91, 223, 341], "xy new word"],
    ["NEW WORD <mark><mark>", [48, 39, 57, 289, 49, 52, 38, 223, 340, 340], "NEW WORD <mark><mark>"],
  ],
  metaspace: [
    ["a <mark> b", [315, 379, 307, 285], "a <mark> b"],
    ["x<obj>y new word", [307, 123, 381, 307, 306, 380], "x y new word"],
  ],
};

async function assertTokens(tokenizer: Tokenizer, name: string): Promise<void> {
  for (const [text, ids, decoded] of EXPECTED[name] ?? []) {
    assert.deepEqual(await tokenizer.encode(text), ids, text);
    assert.equal(tokenizer.decode(ids), decoded);
  }
  assert.equal(tokenizer.specialIds.has(tokenizer.vocabSize - 1), true);
}

for (const name of Object.keys(EXPECTED)) {
  Deno.test(`tokens are added to ${name} as transformers adds them, and its files open as the same tokenizer elsewhere`, async () => {
    const folder = join(TOKENIZERS, name);
    const files = await readTokenizerFiles(folder);
    const own = await createTokenizer(files, folder);
    const grown = await withAddedTokens(files, own, ADDED);
    assert.deepEqual(grown.ids, [0, 1, 2].map((i) => own.vocabSize + i));
    assert.equal(grown.tokenizer.vocabSize, own.vocabSize + 3);
    assert.notEqual(grown.tokenizer.identity, own.identity);
    await assertTokens(grown.tokenizer, name);
    await withFolder(async (out) => {
      await writeTokenizerFiles(out, grown.files);
      await assertTokens(await loadTokenizer(out), name);
      const again = await withAddedTokens(await readTokenizerFiles(out), await loadTokenizer(out), ADDED);
      assert.deepEqual(again.ids, grown.ids, "what it has already keeps its id");
      assert.equal(again.tokenizer.vocabSize, grown.tokenizer.vocabSize);
    });
  });
}

Deno.test("the files of a tokenizer are written whole, with the class that opens them", () =>
  withFolder(async (out) => {
    const files = {
      ...await readTokenizerFiles(join(TOKENIZERS, "metaspace")),
      specialTokens: { pad_token: "<pad>" },
      addedTokens: { "<pad>": 3 },
      namedTemplates: { tools: "{{ tools }}" },
      config: { bos_token: "<s>" },
    };
    await writeTokenizerFiles(out, files, "SomeTokenizer");
    const read = await readTokenizerFiles(out);
    assert.deepEqual(read, { ...files, config: { bos_token: "<s>", tokenizer_class: "SomeTokenizer" } });
    await writeTokenizerFiles(out, { ...files, config: { tokenizer_class: "Own" } }, "SomeTokenizer");
    assert.deepEqual((await readTokenizerFiles(out)).config, { tokenizer_class: "Own" });
  }));

Deno.test("added_tokens_decoder names new tokens where it stands, which makes other files void", async () => {
  const folder = join(TOKENIZERS, "byte_level");
  const files = { ...await readTokenizerFiles(folder), config: { added_tokens_decoder: {} } };
  const own = await createTokenizer(files, folder);
  const { files: grown } = await withAddedTokens(files, own, ADDED.slice(2));
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  assert.deepEqual(grown.config, {
    added_tokens_decoder: { [String(own.vocabSize)]: { content: "<obj>", ...flags } },
  });
});

Deno.test("tokens are named one by one or by a file of them, each once", () =>
  withFolder(async (folder) => {
    const [lines, json, wrong] = ["tokens.txt", "tokens.json", "wrong.json"].map((name) =>
      join(folder, name)
    ) as [
      string,
      string,
      string,
    ];
    await Deno.writeTextFile(lines, "<a>\r\n\n two words\n");
    await Deno.writeTextFile(json, '["<b>", {"content": "<c>", "special": true, "lstrip": false}]');
    await Deno.writeTextFile(wrong, '["<b>", 3, {"text": "x"}]');
    const plain = (content: string) => ({ content, special: false });
    assert.deepEqual(await chosenTokens({}), []);
    assert.deepEqual(await chosenTokens({ addTokens: "a,b" }), [plain("a,b")]);
    assert.deepEqual(
      await chosenTokens({ addTokens: ["x"], addSpecialTokens: ["y"], addTokensFrom: lines }),
      [
        plain("x"),
        { content: "y", special: true },
        plain("<a>"),
        plain(" two words"),
      ],
    );
    assert.deepEqual(await chosenTokens({ addTokensFrom: json }), [plain("<b>"), {
      content: "<c>",
      special: true,
    }]);
    await assert.rejects(
      chosenTokens({ addTokens: ["a", ""], addSpecialTokens: ["a"] }),
      /without a name cannot be added[^]*"a" is to be added twice/,
    );
    await assert.rejects(
      chosenTokens({ addTokensFrom: wrong }),
      /has 3, expected a text[^]*has \{"text":"x"\}/,
    );
    await assert.rejects(chosenTokens({ addTokensFrom: join(folder, "none") }), /none/);
  }));
