// SPDX-License-Identifier: Apache-2.0
/** Tokenizer classes of encoders and of gemma against AutoTokenizer of transformers, on files that lack what they put in. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createTokenizer, type Tokenizer } from "../../../lib/data/tokenizer.ts";

interface Case {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly model: Record<string, unknown>;
  readonly tokenizer: unknown;
  /** Text, ids with and without special tokens, and the text of the latter. */
  readonly texts: readonly (readonly [string, number[], number[], string])[];
  readonly pairs: readonly (readonly [string, string, number[]])[];
}

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "../../fixtures/tokenizer_shapes");
const CASES: readonly Case[] = JSON.parse(Deno.readTextFileSync(join(FOLDER, "classes.json")));

/** Ids of two texts, as rows of pairs are put together. */
async function pairOf({ pairIds, encode }: Tokenizer, first: string, second: string): Promise<number[]> {
  const { prefix, middle, suffix } = pairIds;
  return [...prefix, ...await encode(first), ...middle, ...await encode(second), ...suffix];
}

for (const { name, config, model, tokenizer: json, texts, pairs } of CASES) {
  Deno.test(`the tokenizer of ${name} gives the ids and texts of transformers`, async () => {
    const tokenizer = await createTokenizer({ tokenizer: JSON.stringify(json), config, model }, "made");
    for (const [text, whole, plain, decoded] of texts) {
      assert.deepEqual(await tokenizer.encode(text), plain, text);
      assert.deepEqual(await tokenizer.encode(text, { special: true }), whole, text);
      assert.equal(tokenizer.decode(plain, { keepSpecial: true }), decoded, text);
    }
    for (const [first, second, ids] of pairs) {
      assert.deepEqual(await pairOf(tokenizer, first, second), ids, `${first}, ${second}`);
    }
  });
}
