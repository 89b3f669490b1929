// SPDX-License-Identifier: Apache-2.0
/** Text generation: token by token, for one prompt or for many at once. */
import type { AdapterParams } from "../adapters/adapter.ts";
import { UserError } from "../core/errors.ts";
import { withDefaults } from "../core/option_checks.ts";
import { integer, type OptionsOf } from "../core/options.ts";
import { type RandomStream, randomStream } from "../core/rng.ts";
import { assertInteger } from "../core/shape.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { Hooks } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";
import { type DecoderSession, openDecoderSession } from "./decoder_session.ts";
import { explainedAll } from "./not_finite.ts";
import { checkSampling, chooseToken, SAMPLING_OPTIONS } from "./sampling.ts";
import { promptOpensThought } from "./thoughts.ts";
import { createTextStream, finishStream, pushToken, type TextStream } from "./text_stream.ts";

/** What there is to choose of an answer. */
export const ANSWER_OPTIONS = {
  /** Tokens of an answer at most. Default 256. */
  maxNewTokens: integer({ min: 1, default: 256, help: "tokens of an answer at most" }),
  ...SAMPLING_OPTIONS,
  /** Of sampling. Prompt i draws from stream i of this seed, however many are generated at once. Default 0. */
  seed: integer({ min: 0, max: 2 ** 32 - 1, default: 0, help: "of sampling" }),
} as const;

/** How answers are generated. */
export interface AnswerOptions extends OptionsOf<typeof ANSWER_OPTIONS> {
  /** Token ids that end an answer; `stopIds` in lib/data gives a model's. */
  readonly stopIds: ReadonlySet<number>;
  /** Texts that end an answer, not part of it. */
  readonly stopStrings?: readonly string[];
  /** Stop strings do not count in thoughts, nor in the white space after them. Text then comes once thoughts are over. */
  readonly stopsAfterThoughts?: boolean;
  /** Special tokens that are written by name; all others give no text. Default none. */
  readonly shownIds?: ReadonlySet<number>;
}

/** Why an answer ended: a stop id, a stop string, or no more room. */
export type FinishReason = "stop id" | "stop string" | "length";

/** One token of one answer. */
export interface GeneratedToken {
  /** Which prompt. */
  readonly index: number;
  readonly id: number;
  /** Text that is now certain: "" within a character of several tokens, and more than a token's after it. */
  readonly text: string;
  /** Null while the answer goes on. */
  readonly finish: FinishReason | null;
}

/** A finished answer. */
export interface Answer {
  readonly index: number;
  /** With the stop id, where there is one. */
  readonly ids: readonly number[];
  readonly text: string;
  readonly finish: FinishReason;
}

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
  const wanted = longest + withDefaults(ANSWER_OPTIONS, options).maxNewTokens;
  const { maxPositionEmbeddings } = model.config;
  prompts.forEach((prompt, i) => {
    if (prompt.length < maxPositionEmbeddings) return;
    throw new UserError(
      `Prompt ${i} has ${prompt.length} tokens, the model has room for ${maxPositionEmbeddings}, answer included`,
    );
  });
  using session = openDecoderSession(model, {
    sequences: Math.max(1, Math.min(prompts.length, options.sequences ?? DEFAULT_SEQUENCES)),
    capacity: Math.min(wanted, maxPositionEmbeddings),
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

/** A sequence of the session at work on a prompt. */
interface Slot {
  readonly index: number;
  readonly random: RandomStream;
  readonly stream: TextStream;
  /** Tokens the answer may still get. */
  room: number;
  /** What the model has not seen yet. */
  pending: Int32Array;
}

/** As {@linkcode generateTokens}, in a session that the caller has opened. */
export async function* generateIn(
  session: DecoderSession,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): AsyncGenerator<GeneratedToken> {
  checkSampling(options);
  assertInteger("maxNewTokens", withDefaults(ANSWER_OPTIONS, options).maxNewTokens, 1);
  checkPrompts(session, prompts);
  const slots: (Slot | null)[] = Array.from({ length: session.sequences }, () => null);
  let next = 0;
  for (;;) {
    slots.forEach((slot, s) => {
      if (slot !== null || next >= prompts.length) return;
      session.restart(s);
      slots[s] = openSlot(session, tokenizer, next, prompts[next] as readonly number[], options);
      next++;
    });
    if (slots.every((slot) => slot === null)) return;
    const logits = await session.append(slots.map((slot) => slot?.pending ?? new Int32Array(0)));
    // Chosen before any is given out: the consumer may work for a while, and the logits are only lent.
    const tokens = slots.map((slot, s) => {
      if (slot === null) return null;
      const row = logits.subarray(s * session.vocabSize, (s + 1) * session.vocabSize);
      return takeToken(slot, chooseToken(row, options, slot.random), options);
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
    if (prompt.length < session.capacity) return;
    throw new RangeError(
      `Prompt ${i} has ${prompt.length} tokens, there is room for ${session.capacity}, answer included`,
    );
  });
}

function openSlot(
  session: DecoderSession,
  tokenizer: Tokenizer,
  index: number,
  prompt: readonly number[],
  options: AnswerOptions,
): Slot {
  const { seed, maxNewTokens } = withDefaults(ANSWER_OPTIONS, options);
  return {
    index,
    random: randomStream(seed, index),
    stream: createTextStream(tokenizer, {
      ...options,
      opened: options.stopsAfterThoughts === true && promptOpensThought(prompt, tokenizer),
    }),
    room: Math.min(maxNewTokens, session.capacity - prompt.length),
    pending: Int32Array.from(prompt),
  };
}

/** Puts a chosen id behind the slot's sequence. @mutates slot */
function takeToken(slot: Slot, id: number, options: AnswerOptions): GeneratedToken {
  const { index, stream } = slot;
  slot.pending = Int32Array.of(id);
  slot.room--;
  if (options.stopIds.has(id)) return { index, id, text: finishStream(stream), finish: "stop id" };
  const { text, stopped } = pushToken(stream, id);
  if (stopped) return { index, id, text, finish: "stop string" };
  if (slot.room === 0) return { index, id, text: text + finishStream(stream), finish: "length" };
  return { index, id, text, finish: null };
}
