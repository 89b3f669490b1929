// SPDX-License-Identifier: Apache-2.0
/** Tokenizer classes of encoders, encoder-decoders and gemma against AutoTokenizer of transformers, on files that lack what they put in. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTokenizer, type Tokenizer } from "../../../lib/data/tokenizer.ts";
import { withFolder } from "../../fixtures/folder.ts";

interface Case {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly model: Record<string, unknown>;
  /** Number of its files. */
  readonly files: number;
  /** Text, ids with and without special tokens, and the text of the latter. */
  readonly texts: readonly (readonly [string, number[], number[], string])[];
  /** Ids of the texts where a decoder is to write them; absent where they are no others. */
  readonly target?: readonly number[][];
  readonly pairs: readonly (readonly [string, string, number[]])[];
}

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "../../fixtures/tokenizer_shapes");
interface OwnFiles {
  readonly tokenizer?: unknown;
  /** Texts by the files' names. */
  readonly vocabulary?: Readonly<Record<string, string>>;
}

const { files: FILES, cases: CASES }: { files: OwnFiles[]; cases: Case[] } = JSON.parse(
  Deno.readTextFileSync(join(FOLDER, "classes.json")),
);

/** A folder with the files of a case. */
async function openCase({ files, config, model }: Case): Promise<Tokenizer> {
  const { tokenizer, vocabulary } = FILES[files] as OwnFiles;
  return await withFolder(async (folder) => {
    const texts = vocabulary ?? { "tokenizer.json": JSON.stringify(tokenizer) };
    const all = {
      ...texts,
      "tokenizer_config.json": JSON.stringify(config),
      "config.json": JSON.stringify(model),
    };
    for (const [name, text] of Object.entries(all)) await Deno.writeTextFile(join(folder, name), text);
    return await loadTokenizer(folder);
  });
}

/** Ids of two texts, as rows of pairs are put together. */
async function pairOf({ pairIds, encode }: Tokenizer, first: string, second: string): Promise<number[]> {
  const { prefix, middle, suffix } = pairIds;
  return [...prefix, ...await encode(first), ...middle, ...await encode(second), ...suffix];
}

for (const own of CASES) {
  const { name, texts, target, pairs } = own;
  Deno.test(`the tokenizer of ${name} gives the ids and texts of transformers`, async () => {
    const tokenizer = await openCase(own);
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
