// SPDX-License-Identifier: Apache-2.0
/** Every shape of tokenizer against the tokenizers package: ids, places and texts of odd strings. */
import assert from "node:assert/strict";
import { createDetokenizer, finishText, pushId } from "../../../lib/data/detokenizer.ts";
import { createTokenizer } from "../../../lib/data/tokenizer.ts";
import { readPacked } from "./fixtures.ts";

type Expected = readonly [ids: number[], starts: number[], ends: number[], text: string, plainText: string];

interface Shapes {
  readonly texts: readonly string[];
  readonly shapes: Readonly<
    Record<
      string,
      { readonly tokenizer: unknown; readonly specialIds: number[]; readonly expected: readonly Expected[] }
    >
  >;
}

const { texts, shapes } = await readPacked<Shapes>("tokenizer_shapes/shapes.json.gz");

for (const [name, { tokenizer: json, specialIds, expected }] of Object.entries(shapes)) {
  Deno.test(`Tokenizer encodes, places and decodes like the tokenizers package: ${name}`, async () => {
    const tokenizer = await createTokenizer({ tokenizer: JSON.stringify(json) }, name);
    const encodings = await tokenizer.encodeBatch(texts);
    for (const [i, [ids, starts, ends, text, plainText]] of expected.entries()) {
      const input = JSON.stringify(texts[i]);
      const encoding = encodings[i];
      assert(encoding !== undefined);
      assert.deepEqual([...encoding.ids], ids, input);
      assert.deepEqual([...encoding.starts], starts, input);
      assert.deepEqual([...encoding.ends], ends, input);
      assert.equal(tokenizer.decode(ids, { keepSpecial: true }), text, input);
      assert.equal(tokenizer.decode(ids), plainText, input);
    }
    assert.deepEqual(await tokenizer.encode("a", { special: true }), specialIds);
    assert.deepEqual(await tokenizer.encode(texts.at(-1) as string), expected.at(-1)?.[0]);
  });

  Deno.test(`Detokenizer streams the text that decode() gives: ${name}`, async () => {
    const tokenizer = await createTokenizer({ tokenizer: JSON.stringify(json) }, name);
    for (const keepSpecial of [false, true]) {
      for (const [ids, , , text, plainText] of expected) {
        const stream = createDetokenizer(tokenizer, keepSpecial);
        const pieces = ids.map((id) => pushId(stream, id));
        assert.equal(pieces.join("") + finishText(stream), keepSpecial ? text : plainText);
      }
    }
  });
}
