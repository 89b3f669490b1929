// SPDX-License-Identifier: Apache-2.0
/** Answers under way: the text that their tokens make, the room they have, and where they end. */
import { withDefaults } from "../core/option_checks.ts";
import { type RandomStream, randomStream } from "../core/rng.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { ANSWER_OPTIONS, type AnswerOptions, type GeneratedToken } from "./answer_options.ts";
import type { DecoderSession } from "./decoder_session.ts";
import type { Floats } from "../tensor/tensor.ts";
import { checkFinite, chooseScored, chooseToken } from "./sampling.ts";
import { createTextStream, finishStream, pushToken, type TextStream } from "./text_stream.ts";
import { promptOpensThought } from "./thoughts.ts";
import { applyRules, hasRules } from "./token_rules.ts";

/** A sequence of the session at work on a prompt. */
export interface Slot {
  readonly index: number;
  readonly random: RandomStream;
  readonly stream: TextStream;
  /** Tokens the answer may still get. */
  room: number;
  /** All tokens that the model continues, those of the answer last. */
  readonly seen: number[];
  /** Of them, those of the answer. */
  length: number;
  /** What the model has not seen yet. */
  pending: Int32Array;
}

/** A prompt that is to be answered. */
export interface NumberedPrompt {
  readonly index: number;
  readonly ids: readonly number[];
}

/** What works on prompts side by side, each in a place of the session. */
export interface Places<T> {
  /** Null where a place is free; set so by whoever is done with one. */
  readonly open: (T | null)[];
  /** Gives each free place the next prompt. @returns Whether there is anything to work on */
  fill(): boolean;
}

/** @param begin Opens a prompt in a place, by its number from 0 */
export function createPlaces<T>(
  count: number,
  prompts: readonly (readonly number[])[],
  begin: (place: number, prompt: NumberedPrompt) => T,
): Places<T> {
  const open: (T | null)[] = Array.from({ length: count }, () => null);
  let next = 0;
  return {
    open,
    fill() {
      open.forEach((one, place) => {
        const ids = prompts[next];
        if (one !== null || ids === undefined) return;
        open[place] = begin(place, { index: next++, ids });
      });
      return open.some((one) => one !== null);
    },
  };
}

/** An answer before its first token, in a sequence that is emptied for it. */
export function openSlot(
  session: DecoderSession,
  sequence: number,
  tokenizer: Tokenizer,
  { index, ids }: NumberedPrompt,
  options: AnswerOptions,
): Slot {
  const { seed, maxNewTokens } = withDefaults(ANSWER_OPTIONS, options);
  const first = session.begin(sequence, ids);
  return {
    index,
    random: randomStream(seed, index),
    stream: createTextStream(tokenizer, {
      ...options,
      opened: options.stopsAfterThoughts === true && promptOpensThought(ids, tokenizer),
    }),
    room: Math.min(maxNewTokens, session.answerRoom(ids.length)),
    seen: [...first],
    length: 0,
    pending: Int32Array.from(first),
  };
}

/**
 * The next token of an answer, under the rules.
 *
 * @param logits (V)
 * @mutates slot: a draw, where there is one
 * @throws {NotFiniteError} When a logit is not finite
 */
export function nextToken(slot: Slot, logits: Floats, options: AnswerOptions): number {
  if (!hasRules(options)) return chooseToken(logits, options, slot.random);
  checkFinite(logits);
  const scores = new Float64Array(logits);
  applyRules(scores, options, slot);
  return chooseScored(scores, options, slot.random);
}

/** Puts a chosen id behind the slot's sequence. @mutates slot */
export function takeToken(slot: Slot, id: number, options: AnswerOptions): GeneratedToken {
  const { index, stream } = slot;
  slot.pending = Int32Array.of(id);
  slot.seen.push(id);
  slot.length++;
  slot.room--;
  if (options.stopIds.has(id)) return { index, id, text: finishStream(stream), finish: "stop id" };
  const { text, stopped } = pushToken(stream, id);
  if (stopped) return { index, id, text, finish: "stop string" };
  if (slot.room === 0) return { index, id, text: text + finishStream(stream), finish: "length" };
  return { index, id, text, finish: null };
}
