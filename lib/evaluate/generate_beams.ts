// SPDX-License-Identifier: Apache-2.0
/** Beam search for many prompts at once: each has as many sequences of a session as there are beams. */
import { withDefaults } from "../core/option_checks.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { Floats } from "../tensor/tensor.ts";
import { ANSWER_OPTIONS, type AnswerOptions, type GeneratedToken } from "./answer_options.ts";
import { createPlaces, type NumberedPrompt, openSlot, type Slot, takeToken } from "./answer_slots.ts";
import {
  advance,
  type Beam,
  type BeamSearch,
  type Hypothesis,
  logSoftmax,
  SEARCH_START,
  type SearchStep,
} from "./beams.ts";
import type { DecoderSession } from "./decoder_session.ts";
import { checkFinite } from "./sampling.ts";
import { createTextStream, pushToken } from "./text_stream.ts";
import { applyRules } from "./token_rules.ts";

/** What a search has found for a prompt. */
export interface FoundAnswers {
  readonly index: number;
  /** The best first; as many as beams at most. */
  readonly answers: readonly Hypothesis[];
}

/** A search, in the sequences [first, first + beams) of a session. */
interface OpenSearch {
  readonly first: number;
  readonly slot: Slot;
  readonly step: SearchStep;
  search: BeamSearch;
}

/** The best answer to each prompt, all of its tokens once it is certain. */
export async function* searchAnswers(
  session: DecoderSession,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): AsyncGenerator<GeneratedToken> {
  for await (const { slot, search } of searches(session, tokenizer, prompts, options)) {
    const ids = search.ended[0]?.ids ?? [];
    for (const [i, id] of ids.entries()) {
      const token = takeToken(slot, id, options);
      // Of all that could follow nothing may.
      yield i < ids.length - 1 ? token : { ...token, finish: token.finish ?? "length" };
    }
  }
}

/** All answers that are found to each prompt, with their scores, in the order in which the searches end. */
export async function* searchBeams(
  session: DecoderSession,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): AsyncGenerator<FoundAnswers> {
  for await (const { slot: { index }, search } of searches(session, tokenizer, prompts, options)) {
    yield { index, answers: search.ended };
  }
}

async function* searches(
  session: DecoderSession,
  tokenizer: Tokenizer,
  prompts: readonly (readonly number[])[],
  options: AnswerOptions,
): AsyncGenerator<OpenSearch> {
  const { beams } = withDefaults(ANSWER_OPTIONS, options);
  const { vocabSize: V } = session;
  const { open, fill } = createPlaces(
    Math.floor(session.sequences / beams),
    prompts,
    (group, prompt) => openSearch(session, group * beams, tokenizer, prompt, options),
  );
  while (fill()) {
    const under = open.filter((one) => one !== null);
    const logits = await session.append(pendingOf(session, under));
    const from = Int32Array.from({ length: session.sequences }, (_, s) => s);
    for (const one of under) {
      const scores = one.search.running.map((beam, i) =>
        scoresOf(one, beam, logits.subarray((one.first + i) * V, (one.first + i + 1) * V), options)
      );
      one.search = advance(one.search, scores, one.step);
      one.search.running.forEach((beam, i) => from[one.first + i] = one.first + beam.from);
    }
    await session.reorder(from);
    for (const [group, one] of open.entries()) {
      if (one === null || !one.search.done) continue;
      open[group] = null;
      yield one;
    }
  }
}

/** The prompt is given to one sequence: the others go on from there. */
function openSearch(
  session: DecoderSession,
  first: number,
  tokenizer: Tokenizer,
  prompt: NumberedPrompt,
  options: AnswerOptions,
): OpenSearch {
  const { beams, lengthPenalty, earlyStopping } = withDefaults(ANSWER_OPTIONS, options);
  const slot = openSlot(session, first, tokenizer, prompt, options);
  const { room: maxLength } = slot;
  const step: SearchStep = {
    ...{ beams, lengthPenalty, earlyStopping, maxLength },
    stopIds: options.stopIds.size,
    ends: (ids) =>
      ids.length === maxLength || options.stopIds.has(ids.at(-1) as number) ||
      holdsStop(ids, tokenizer, slot.stream, options),
  };
  return { first, slot, step, search: SEARCH_START };
}

/** What each sequence has not seen yet: at first the prompt's, then the last token of each beam. */
function pendingOf(session: DecoderSession, under: readonly OpenSearch[]): Int32Array[] {
  const pending: Int32Array[] = Array.from({ length: session.sequences }, () => new Int32Array(0));
  for (const { first, slot, search } of under) {
    search.running.forEach(({ ids }, i) => {
      pending[first + i] = ids.length === 0 ? slot.pending : Int32Array.of(ids.at(-1) as number);
    });
  }
  return pending;
}

/** Log-probabilities of what may follow a beam. @throws {NotFiniteError} When a logit is not finite */
function scoresOf(
  { slot, step: { maxLength } }: OpenSearch,
  { ids }: Beam,
  logits: Floats,
  options: AnswerOptions,
): Float64Array {
  checkFinite(logits);
  const scores = logSoftmax(logits);
  const state = { seen: [...slot.seen, ...ids], length: ids.length, room: maxLength - ids.length };
  applyRules(scores, options, state);
  return scores;
}

/** Whether the text of an answer has come to a stop string. */
function holdsStop(
  ids: readonly number[],
  tokenizer: Tokenizer,
  { thoughts }: Slot["stream"],
  options: AnswerOptions,
): boolean {
  if ((options.stopStrings ?? []).length === 0) return false;
  const stream = createTextStream(tokenizer, { ...options, opened: thoughts?.opened === true });
  return ids.some((id) => pushToken(stream, id).stopped);
}
