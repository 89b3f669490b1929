// SPDX-License-Identifier: Apache-2.0
/** Text generation: token by token, for one prompt or for many at once. */
import type { AdapterParams } from "../adapters/adapter.ts";
import { UserError } from "../core/errors.ts";
import { withDefaults } from "../core/option_checks.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { Hooks } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";
import {
  type Answer,
  ANSWER_OPTIONS,
  type AnswerOptions,
  checkAnswerOptions,
  type GeneratedToken,
} from "./answer_options.ts";
import { createPlaces, nextToken, openSlot, takeToken } from "./answer_slots.ts";
import { type DecoderSession, openDecoderSession } from "./decoder_session.ts";
import { searchAnswers } from "./generate_beams.ts";
import { explainedAll } from "./not_finite.ts";

/** How {@linkcode generateTokens} works through prompts. */
export interface GenerateTokensOptions extends AnswerOptions {
  /** The adapter, where there is one. */
  readonly hooks?: Hooks;
  /** What the hooks compute with, to be searched when a logit is not finite. */
  readonly adapter?: AdapterParams | null;
  /** Prompts decoded at once. Default 16, or as many as there are. */
  readonly sequences?: number;
}

/**
 * Streams answers to prompts, several at once: a sequence that ends takes the next prompt.
 *
 * @param prompts Token ids of each prompt
 * @throws {UserError} When a prompt fills the model's whole context
 * @throws {NotFiniteError} When a logit is not finite: names the first tensor that is not finite either
 * @throws {RangeError} When a prompt is empty, or an option makes no sense
 */
export async function* generateTokens(
  model: Model,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: GenerateTokensOptions,
): AsyncGenerator<GeneratedToken> {
  const longest = prompts.reduce((length, prompt) => Math.max(length, prompt.length), 1);
  const { beams, maxNewTokens } = withDefaults(ANSWER_OPTIONS, options);
  const { maxPositionEmbeddings, decoderIds } = model.config;
  const apart = decoderIds !== undefined;
  const wanted = (apart ? 1 : longest) + maxNewTokens;
  prompts.forEach((prompt, i) => {
    if (prompt.length < maxPositionEmbeddings + Number(apart)) return;
    throw new UserError(
      `Prompt ${i} has ${prompt.length} tokens, the model has room for ${maxPositionEmbeddings}${
        apart ? "" : ", answer included"
      }`,
    );
  });
  using session = openDecoderSession(model, {
    sequences: beams * Math.max(1, Math.min(prompts.length, options.sequences ?? DEFAULT_SEQUENCES)),
    capacity: Math.min(wanted, maxPositionEmbeddings),
    ...(apart && { sourceCapacity: longest, startId: options.startId }),
    ...(options.hooks === undefined ? {} : { hooks: options.hooks }),
  });
  yield* explainedAll(model, options.adapter ?? null, generateIn(session, tokenizer, prompts, options));
}

/** As {@linkcode generateTokens}, answer by answer, in the order they end. */
export async function* generateAnswers(
  model: Model,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: GenerateTokensOptions,
): AsyncGenerator<Answer> {
  const open = new Map<number, { ids: number[]; text: string }>();
  for await (const { index, id, text, finish } of generateTokens(model, tokenizer, prompts, options)) {
    const answer = open.get(index) ?? { ids: [], text: "" };
    answer.ids.push(id);
    answer.text += text;
    open.set(index, answer);
    if (finish === null) continue;
    open.delete(index);
    yield { index, ...answer, finish };
  }
}

const DEFAULT_SEQUENCES = 16;

/** As {@linkcode generateTokens}, in a session that the caller has opened, with a sequence for each beam. */
export async function* generateIn(
  session: DecoderSession,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): AsyncGenerator<GeneratedToken> {
  checkAnswerOptions(options);
  checkPrompts(session, prompts);
  const { beams } = withDefaults(ANSWER_OPTIONS, options);
  yield* (beams > 1 ? searchAnswers : followAnswers)(session, tokenizer, prompts, options);
}

/** One token of every answer after the other. */
async function* followAnswers(
  session: DecoderSession,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): AsyncGenerator<GeneratedToken> {
  const { open: slots, fill } = createPlaces(
    session.sequences,
    prompts,
    (s, prompt) => openSlot(session, s, tokenizer, prompt, options),
  );
  while (fill()) {
    const logits = await session.append(slots.map((slot) => slot?.pending ?? new Int32Array(0)));
    // Chosen before any is given out: the consumer may work for a while, and the logits are only lent.
    const tokens = slots.map((slot, s) => {
      if (slot === null) return null;
      const row = logits.subarray(s * session.vocabSize, (s + 1) * session.vocabSize);
      return takeToken(slot, nextToken(slot, row, options), options);
    });
    for (const [s, token] of tokens.entries()) {
      if (token === null) continue;
      if (token.finish !== null) slots[s] = null;
      yield token;
    }
  }
}

function checkPrompts(session: DecoderSession, prompts: readonly (readonly number[])[]): void {
  prompts.forEach((prompt, i) => {
    if (prompt.length === 0) throw new RangeError(`Prompt ${i} has no tokens; give it at least one`);
    if (session.answerRoom(prompt.length) > 0) return;
    throw new RangeError(
      `Prompt ${i} has ${prompt.length} tokens, there is room for ${session.capacity}, answer included`,
    );
  });
}
