// SPDX-License-Identifier: Apache-2.0
/** Beam search and rules for tokens on real models: answers and scores are those of transformers, several prompts at once. */
import assert from "node:assert/strict";
import type { AnswerOptions } from "../../../lib/evaluate/answer_options.ts";
import { type DecoderSession, openDecoderSession } from "../../../lib/evaluate/decoder_session.ts";
import { searchBeams } from "../../../lib/evaluate/generate_beams.ts";
import { generateIn } from "../../../lib/evaluate/generate_tokens.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { CHARACTERS } from "./fake_session.ts";

interface BeamCase {
  /** Folder of its checkpoint. */
  readonly model: string;
  /** As transformers has them. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly prompts: readonly {
    readonly ids: readonly number[];
    readonly answers: readonly { readonly ids: readonly number[]; readonly score: number | null }[];
  }[];
}

const CASES = JSON.parse(
  Deno.readTextFileSync(new URL("../../fixtures/beams.json", import.meta.url)),
) as readonly BeamCase[];

/** In f64 in another order of sums, and in f32, where scores are sums of up to ten logarithms of about 4. */
const WITHIN = { reference: 1e-9, native: 2e-4 };

function optionsOf(of: BeamCase["options"]): AnswerOptions {
  const known: Readonly<Record<string, string>> = {
    ...{ num_beams: "beams", max_new_tokens: "maxNewTokens", length_penalty: "lengthPenalty" },
    ...{ no_repeat_ngram_size: "noRepeatNgramSize", min_new_tokens: "minNewTokens" },
    ...{
      decoder_start_token_id: "startId",
      repetition_penalty: "repetitionPenalty",
      forced_bos_token_id: "forcedFirstId",
    },
  };
  const plain = Object.entries(of).flatMap(([name, value]) => known[name] ? [[known[name], value]] : []);
  const early = of["early_stopping"];
  return {
    ...Object.fromEntries(plain),
    earlyStopping: early === true ? "on" : early === false ? "off" : "never",
    stopIds: new Set(of["eos_token_id"] as number[]),
    ...("forced_eos_token_id" in of && { forcedLastIds: [of["forced_eos_token_id"] as number] }),
  };
}

/** Answers of every prompt: all that beams find, or the one without a score that is made token by token. */
async function answersOf(
  session: DecoderSession,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): Promise<{ ids: readonly number[]; score: number | null }[][]> {
  const found: { ids: number[]; score: number | null }[][] = prompts.map(() => []);
  if (options.beams !== 1) {
    for await (const { index, answers } of searchBeams(session, CHARACTERS, prompts, options)) {
      found[index]?.push(...answers.map(({ ids, score }) => ({ ids: [...ids], score })));
    }
    return found;
  }
  for await (const { index, id } of generateIn(session, CHARACTERS, prompts, options)) {
    const [answer] = found[index] as { ids: number[]; score: null }[];
    if (answer) answer.ids.push(id);
    else found[index]?.push({ ids: [id], score: null });
  }
  return found;
}

async function compare(number: number, kernels: Kernels, within: number): Promise<void> {
  const { model: name, options: said, prompts } = CASES[number] as BeamCase;
  using model = openCheckpoint(checkpointFixture(name).dir, kernels);
  const options = optionsOf(said);
  // Two prompts at once: the third takes the place of the first that ends.
  const { startId, beams = 1 } = options;
  const room = { capacity: model.config.decoderIds === undefined ? 16 : 11, sourceCapacity: 14 };
  using session = openDecoderSession(model, { sequences: 2 * beams, ...room, startId });
  const found = await answersOf(session, prompts.map(({ ids }) => ids), options);
  prompts.forEach(({ answers: wanted }, index) => {
    const what = `prompt ${index} of ${JSON.stringify(said)}`;
    const answers = found[index] ?? [];
    assert.deepEqual(answers.map(({ ids }) => ids), wanted.map(({ ids }) => ids), what);
    answers.forEach(({ score }, i) => {
      const expected = wanted[i]?.score ?? null;
      if (expected === null || score === null) return assert.equal(score, expected);
      const error = Math.abs(score - expected) / Math.max(1, Math.abs(expected));
      assert(error <= within, `${what}: ${score}, not ${expected}`);
    });
  });
}

for (const [number, { model }] of CASES.entries()) {
  Deno.test(`answers ${number} of ${model} and their scores are those of transformers`, async () => {
    await compare(number, referenceKernels(), WITHIN.reference);
    using kernels = nativeKernels({ compute: "f32", threads: 1 });
    await compare(number, kernels, WITHIN.native);
  });
}
