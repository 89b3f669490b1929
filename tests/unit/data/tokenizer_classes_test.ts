// SPDX-License-Identifier: Apache-2.0
/** Tokenizer classes of encoders, encoder-decoders and gemma against AutoTokenizer of transformers, on files that lack what they put in. */
import assert from "node:assert/strict";
import type { Tokenizer } from "../../../lib/data/tokenizer.ts";
import { TOKENIZER_CASES, tokenizerCase } from "./tokenizer_cases.ts";

/** Ids of two texts, as rows of pairs are put together. */
async function pairOf({ pairIds, encode }: Tokenizer, first: string, second: string): Promise<number[]> {
  const { prefix, middle, suffix } = pairIds;
  return [...prefix, ...await encode(first), ...middle, ...await encode(second), ...suffix];
}

for (const { name, texts, target, pairs } of TOKENIZER_CASES) {
  Deno.test(`the tokenizer of ${name} gives the ids and texts of transformers`, async () => {
    const tokenizer = await tokenizerCase(name);
    const { prefix, suffix } = tokenizer.targetIds ??
      { prefix: tokenizer.prefixIds, suffix: tokenizer.suffixIds };
    for (const [i, [text, whole, plain, decoded]] of texts.entries()) {
      assert.deepEqual([...prefix, ...plain, ...suffix], target?.[i] ?? whole, text);
      assert.deepEqual(await tokenizer.encode(text), plain, text);
      assert.deepEqual(await tokenizer.encode(text, { special: true }), whole, text);
      assert.equal(tokenizer.decode(plain, { keepSpecial: true }), decoded, text);
    }
    for (const [first, second, ids] of pairs) {
      assert.deepEqual(await pairOf(tokenizer, first, second), ids, `${first}, ${second}`);
    }
  });
}
