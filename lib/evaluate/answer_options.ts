// SPDX-License-Identifier: Apache-2.0
/** What there is to choose of answers, and what they are. */
import { optionProblems, withDefaults } from "../core/option_checks.ts";
import { integer, type OptionsOf } from "../core/options.ts";
import { BEAM_OPTIONS } from "./beams.ts";
import { SAMPLING_OPTIONS } from "./sampling.ts";
import { RULE_OPTIONS, type TokenRules } from "./token_rules.ts";

/** What there is to choose of an answer. */
export const ANSWER_OPTIONS = {
  /** Tokens of an answer at most. Default 256. */
  maxNewTokens: integer({ min: 1, default: 256, help: "tokens of an answer at most" }),
  ...RULE_OPTIONS,
  ...BEAM_OPTIONS,
  ...SAMPLING_OPTIONS,
  /** Of sampling. Prompt i draws from stream i of this seed, however many are generated at once. Default 0. */
  seed: integer({ min: 0, max: 2 ** 32 - 1, default: 0, help: "of sampling" }),
} as const;

/** How answers are generated. */
export interface AnswerOptions extends OptionsOf<typeof ANSWER_OPTIONS>, TokenRules {
  /** What a decoder behind an encoder begins with; see `answerStart`. Default: the model's own start. */
  readonly startId?: number | undefined;
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

/** @throws {RangeError} When a value makes no sense, or two do not go together, naming them */
export function checkAnswerOptions(options: AnswerOptions): void {
  const chosen = withDefaults(ANSWER_OPTIONS, options);
  const [problem] = optionProblems(ANSWER_OPTIONS, chosen);
  if (problem !== undefined) throw new RangeError(problem);
  if (chosen.beams > 1 && chosen.temperature > 0) {
    throw new RangeError(
      `beams is ${chosen.beams} and temperature ${chosen.temperature}: beams take the likeliest tokens, so leave out one of the two`,
    );
  }
}
