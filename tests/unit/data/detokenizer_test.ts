// SPDX-License-Identifier: Apache-2.0
/** Streaming text: the pieces joined are the text of all ids, and no character comes in halves. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { createDetokenizer, finishText, pushId } from "../../../lib/data/detokenizer.ts";
import { fixtureTokenizer, TOKENIZER_NAMES } from "./fixtures.ts";

for (const name of TOKENIZER_NAMES) {
  Deno.test(`pushId() gives the text of all ids without broken characters: ${name}`, async () => {
    const tokenizer = await fixtureTokenizer(name);
    const word = fc.constantFrom("the", " ", "  ", "\n", "日本", "👩‍👩‍👧", "é", "a", "'", " water", ".");
    await fc.assert(
      fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 12 }), async (words) => {
        const text = words.join("");
        const stream = createDetokenizer(tokenizer);
        const ids = await tokenizer.encode(text, { special: true });
        const pieces = ids.map((id) => pushId(stream, id));
        pieces.push(finishText(stream));
        assert.equal(pieces.join(""), text);
        pieces.forEach((piece) => assert(!piece.includes("\u{fffd}") && piece.isWellFormed()));
      }),
      { numRuns: 200, seed: 2 },
    );
  });

  Deno.test(`pushId() and finishText() give the text of any ids: ${name}`, async () => {
    const tokenizer = await fixtureTokenizer(name);
    const ids = fc.array(fc.nat(tokenizer.vocabSize - 1), { maxLength: 12 });
    fc.assert(
      fc.property(ids, (some) => {
        const stream = createDetokenizer(tokenizer);
        const text = some.map((id) => pushId(stream, id)).join("") + finishText(stream);
        assert.equal(text, tokenizer.decode(some));
      }),
      { numRuns: 200, seed: 2 },
    );
  });
}

Deno.test("pushId() holds the bytes of a character back until its last one", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const ids = await tokenizer.encode("é");
  assert.equal(ids.length, 2);
  const stream = createDetokenizer(tokenizer);
  assert.deepEqual(ids.map((id) => pushId(stream, id)), ["", "é"]);
  assert.equal(pushId(stream, ids[0] as number), "");
  assert.equal(finishText(stream), "\u{fffd}", "a broken-off one shows as such at the end");
});

Deno.test("pushId() holds a run of byte tokens back until another token comes, or is known to", async () => {
  const tokenizer = await fixtureTokenizer("metaspace");
  const [space, first, second] = await tokenizer.encode("é") as [number, number, number];
  const [letter] = (await tokenizer.encode("a")).slice(-1) as [number];
  const stream = createDetokenizer(tokenizer);
  assert.deepEqual([space, first, second].map((id) => pushId(stream, id)), ["", "", ""]);
  const rest = tokenizer.decode([space, first, second, letter]);
  assert.equal(pushId(stream, letter), rest);
  assert.equal(pushId(stream, first, second), "");
  assert.equal(pushId(stream, second, letter), "é");
  pushId(stream, letter);
  pushId(stream, first);
  pushId(stream, second);
  pushId(stream, second);
  assert.equal(
    finishText(stream),
    "\u{fffd}".repeat(3),
    "bytes that are no text together, as decode() has them",
  );
});

Deno.test("pushId() writes special tokens only when asked", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const ids = await tokenizer.encode("a<|im_end|>b");
  const text = (keepSpecial: boolean) => {
    const stream = createDetokenizer(tokenizer, keepSpecial);
    return ids.map((id) => pushId(stream, id)).join("");
  };
  assert.equal(text(false), "ab");
  assert.equal(text(true), "a<|im_end|>b");
});
