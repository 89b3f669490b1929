// SPDX-License-Identifier: Apache-2.0
/** Settings beside tokenizer.json against AutoTokenizer of transformers, on made checkpoints of every family. */
import assert from "node:assert/strict";
import { createTokenizer } from "../../../lib/data/tokenizer.ts";
import type { TokenizerFiles } from "../../../lib/data/tokenizer_files.ts";
import { readPacked } from "./fixtures.ts";

type Fields = Readonly<Record<string, unknown>>;

interface Case extends Omit<TokenizerFiles, "tokenizer"> {
  readonly name: string;
  readonly base: string;
  readonly json?: Fields;
  readonly addTokens?: readonly string[];
  readonly padTo?: number;
  readonly expected: {
    readonly class: string;
    readonly names: Readonly<Record<string, string>>;
    readonly size: number;
    readonly bosId: number | null;
    readonly eosId: number | null;
    readonly padId: number | null;
    readonly ids: readonly (readonly number[])[];
    readonly specialIds: readonly number[];
    readonly texts: readonly string[];
    readonly plainTexts: readonly string[];
    readonly all: readonly number[];
    readonly plain: string;
  };
}

interface Settings {
  readonly transformers: string;
  readonly texts: readonly string[];
  readonly bases: Readonly<Record<string, Fields>>;
  readonly cases: readonly Case[];
}

const { transformers, texts, bases, cases } = await readPacked<Settings>(
  "tokenizer_shapes/settings.json.gz",
);

interface TokenizerJson {
  readonly added_tokens: unknown[];
  readonly model: { readonly vocab: Record<string, number> };
}

function tokenizerText({ base, json, addTokens = [], padTo = 0 }: Case): string {
  const fields = structuredClone({ ...bases[base], ...json }) as unknown as TokenizerJson;
  const { added_tokens: added, model: { vocab } } = fields;
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  let size = Object.keys(vocab).length;
  for (const content of addTokens) {
    added.push({ id: size, content, ...plain });
    vocab[content] = size++;
  }
  for (let number = 0; size < padTo; number++) vocab[`<filler ${number}>`] = size++;
  return JSON.stringify(fields);
}

async function check(checked: Case): Promise<void> {
  const { expected } = checked;
  const tokenizer = await createTokenizer({ ...checked, tokenizer: tokenizerText(checked) }, "made");
  const ids = await Promise.all(texts.map((text) => tokenizer.encode(text)));
  assert.deepEqual(ids, expected.ids);
  assert.deepEqual(await tokenizer.encode("a", { special: true }), expected.specialIds);
  assert.deepEqual(ids.map((some) => tokenizer.decode(some, { keepSpecial: true })), expected.texts);
  assert.deepEqual(ids.map((some) => tokenizer.decode(some)), expected.plainTexts);
  assert.equal(tokenizer.decode(expected.all), expected.plain);
  const { bosId, eosId, padId, specialNames } = tokenizer;
  const names = Object.fromEntries(Object.entries(specialNames).filter(([, name]) => name !== null));
  assert.deepEqual(names, expected.names);
  assert.deepEqual([bosId, eosId, padId], [expected.bosId, expected.eosId, expected.padId]);
  assert.equal(tokenizer.vocabSize, expected.size);
}

const groups = Map.groupBy(cases, ({ name }) => name.split(/[ ,:]/)[0] as string);
for (const [group, members] of groups) {
  Deno.test(`createTokenizer() is AutoTokenizer of transformers ${transformers}: ${group}, ${members.length} cases`, async () => {
    for (const checked of members) {
      await check(checked).catch((error) => {
        throw new Error(`${checked.name}: ${error.message}`, { cause: error });
      });
    }
  });
}
