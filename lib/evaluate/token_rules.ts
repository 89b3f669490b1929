// SPDX-License-Identifier: Apache-2.0
/** What an answer may not say next, whatever its model thinks: the logits processors of transformers, by their names there. */
import { integer, number, type OptionsOf } from "../core/options.ts";
import { withDefaults } from "../core/option_checks.ts";

/** Rules that are chosen. */
export const RULE_OPTIONS = {
  /** Tokens before an answer may end. Default 0. */
  minNewTokens: integer({ min: 0, default: 0, help: "tokens of an answer at least" }),
  /** No run of this many tokens comes twice, the prompt counted where it is the model's own text; 0 lets all come. Default 0. */
  noRepeatNgramSize: integer({
    min: 0,
    default: 0,
    flag: "distinct-ngram-size",
    help: "tokens of the runs that may not come twice (no_repeat_ngram_size); 0 allows all",
  }),
  /** Divides what speaks for tokens that were there, multiplies what speaks against them. Default 1. */
  repetitionPenalty: number({
    min: 0,
    above: true,
    default: 1,
    help: "above 1 makes tokens that were there less likely",
  }),
} as const;

/** Rules of one call, with those that a model's folder gives. */
export interface TokenRules extends OptionsOf<typeof RULE_OPTIONS> {
  /** Token ids that end an answer. */
  readonly stopIds: ReadonlySet<number>;
  /** The token that comes behind a text of one: `forced_bos_token_id`. */
  readonly forcedFirstId?: number | null;
  /** Tokens, one of which is the last where there is no more room: `forced_eos_token_id`. */
  readonly forcedLastIds?: readonly number[];
}

/** Where an answer is. */
export interface AnswerState {
  /** All tokens that its model has continued: the prompt, unless an encoder has read that, and the answer so far. */
  readonly seen: readonly number[];
  /** Tokens of the answer so far. */
  readonly length: number;
  /** Tokens it may still get, the next one counted. */
  readonly room: number;
}

/** Whether any rule changes anything. */
export function hasRules(rules: TokenRules): boolean {
  const { minNewTokens, noRepeatNgramSize, repetitionPenalty } = withDefaults(RULE_OPTIONS, rules);
  return minNewTokens > 0 || noRepeatNgramSize > 0 || repetitionPenalty !== 1 ||
    typeof rules.forcedFirstId === "number" || (rules.forcedLastIds ?? []).length > 0;
}

/**
 * Applies the rules, in the order in which transformers does. What may not come has -Infinity.
 *
 * @param scores (V) logits, or their logarithms of probabilities, as a beam search takes them
 * @mutates scores
 */
export function applyRules(scores: Float64Array, rules: TokenRules, state: AnswerState): void {
  const { minNewTokens, noRepeatNgramSize, repetitionPenalty } = withDefaults(RULE_OPTIONS, rules);
  const { seen, length, room } = state;
  if (repetitionPenalty !== 1) penalise(scores, seen, repetitionPenalty);
  if (noRepeatNgramSize > 0) {
    for (const id of repeatingIds(seen, noRepeatNgramSize)) scores[id] = -Infinity;
  }
  if (length < minNewTokens) { for (const id of rules.stopIds) scores[id] = -Infinity; }
  if (typeof rules.forcedFirstId === "number" && seen.length === 1) force(scores, [rules.forcedFirstId]);
  if (rules.forcedLastIds !== undefined && rules.forcedLastIds.length > 0 && room === 1) {
    force(scores, rules.forcedLastIds);
  }
}

function penalise(scores: Float64Array, seen: readonly number[], penalty: number): void {
  for (const id of new Set(seen)) {
    const score = scores[id] as number;
    scores[id] = score < 0 ? score * penalty : score / penalty;
  }
}

/** Tokens that came behind what the last `size - 1` tokens are. */
function repeatingIds(seen: readonly number[], size: number): number[] {
  const last = seen.length - (size - 1);
  const found: number[] = [];
  for (let start = 0; start < last; start++) {
    let same = 0;
    while (same < size - 1 && seen[start + same] === seen[last + same]) same++;
    if (same === size - 1) found.push(seen[start + same] as number);
  }
  return found;
}

function force(scores: Float64Array, ids: readonly number[]): void {
  scores.fill(-Infinity);
  for (const id of ids) scores[id] = 0;
}
