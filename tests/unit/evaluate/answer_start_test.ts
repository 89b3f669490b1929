// SPDX-License-Identifier: Apache-2.0
/** How answers of encoder-decoders begin and end, and the short way to one. */
import assert from "node:assert/strict";
import type { Tokenizer } from "../../../lib/data/tokenizer.ts";
import { answerStart } from "../../../lib/evaluate/answer_start.ts";
import { openDecoderSession } from "../../../lib/evaluate/decoder_session.ts";
import { generate } from "../../../lib/evaluate/generate.ts";
import type { DecoderIds } from "../../../lib/models/model.ts";
import { loadModel } from "../../../lib/train/open_model.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { pairModel, WORDS } from "../../fixtures/pair_model.ts";
import { tokenizerCase } from "../data/tokenizer_cases.ts";

const IDS: DecoderIds = {
  shiftedIn: "last",
  startTokenId: null,
  forcedBosTokenId: null,
  forcedEosTokenId: 2,
};

function idOf({ languages }: Tokenizer, code: string): number {
  return languages?.idOf[code] as number;
}

Deno.test("answerStart() begins mBART's answers with their language, and has mBART-50's write it first", async () => {
  const [mbart, mbart50] = [await tokenizerCase("mbart"), await tokenizerCase("mbart50")];
  const of = (ids: Partial<DecoderIds>, tokenizer: Tokenizer, tgtLang?: string) =>
    answerStart({ decoderIds: { ...IDS, ...ids } }, tokenizer, { tgtLang });
  const forced = { forcedFirstId: null, forcedLastIds: [2] };
  const own = await tokenizerCase("mbart, german to romanian");
  assert.deepEqual(of({}, mbart, "de_DE"), { startId: idOf(mbart, "de_DE"), ...forced });
  assert.deepEqual(of({ startTokenId: 7 }, mbart, "de_DE"), { startId: idOf(mbart, "de_DE"), ...forced });
  // The folder's language where nothing else says how to begin, and nothing where it names none.
  assert.deepEqual(of({}, own), { startId: idOf(own, "ro_RO"), ...forced });
  assert.deepEqual(of({ startTokenId: 7 }, own), { startId: 7, ...forced });
  assert.deepEqual(of({}, mbart), forced);
  assert.deepEqual(of({ startTokenId: 2, forcedBosTokenId: 9, forcedEosTokenId: null }, mbart50), {
    startId: 2,
    forcedFirstId: 9,
    forcedLastIds: [],
  });
  assert.deepEqual(of({ startTokenId: 2, forcedBosTokenId: 9 }, mbart50, "uk_UA"), {
    startId: 2,
    forcedFirstId: idOf(mbart50, "uk_UA"),
    forcedLastIds: [2],
  });
  assert.deepEqual(answerStart({}, mbart, {}), {});
});

Deno.test("generate() reads its text with an encoder where the model has one, whole and in any room that the answer leaves", () =>
  withFolder(async (folder) => {
    using model = await loadModel(await pairModel(folder), { device: "cpu", dtype: "f32", threads: 1 });
    const longest = [...WORDS.slice(0, 12)].join(" "); // with its marks as long as the model has positions
    for (const beams of [1, 3]) {
      const text = await generate(model, longest, { maxNewTokens: 20, beams });
      assert.match(text, /^[a-m ]*$/);
    }
    await assert.rejects(
      generate(model, `${longest} m`),
      /the prompt has 15 tokens, and the model has room for 14/,
    );
    const { decoderIds: _, ...config } = model.config;
    const startless = { ...model, config: { ...config, decoderIds: IDS } };
    assert.throws(
      () => openDecoderSession(startless, { sequences: 1, capacity: 4 }),
      /does not say with which token its decoder begins: choose the language that is written with --tgt-lang/,
    );
  }));
