// SPDX-License-Identifier: Apache-2.0
/** What of the flags of answers does not go together. */
import { ANSWER_OPTIONS } from "../../evaluate/answer_options.ts";
import { type FlagValues, valuesOf } from "./flags.ts";

/** @returns A sentence each */
export function answerProblems(values: FlagValues): string[] {
  const { beams, temperature } = valuesOf(ANSWER_OPTIONS, values);
  return beams > 1 && temperature > 0
    ? [
      "--beams and --temperature exclude each other: beams take the likeliest tokens, a temperature draws them",
    ]
    : [];
}
