// SPDX-License-Identifier: Apache-2.0
/**
 * GSM8K answers as EleutherAI's lm-evaluation-harness scores them (task `gsm8k`, version 3): a number is taken out of the
 * prediction, and compared as text with the reference answer, both stripped of what does not count.
 */

/** Where the final number is looked for: "strict" the first `#### n`, "flexible" the last number anywhere. */
export type Gsm8kMode = "strict" | "flexible";

const FIRST_MARKED = /#### (-?[0-9.,]+)/;
const NUMBERS = /-?[$0-9.,]{2,}|-?[0-9]+/g;

/** What the harness takes for the answer where there is no number. */
const INVALID = "[invalid]";

/** The number that a prediction ends in, as it is written there; "[invalid]" when there is none. */
function gsm8kAnswer(prediction: string, mode: Gsm8kMode): string {
  if (mode === "strict") return FIRST_MARKED.exec(prediction)?.[1] ?? INVALID;
  return prediction.match(NUMBERS)?.at(-1) ?? INVALID;
}

/**
 * What is compared: without commas and dollar signs, without all up to the last `#### `, without a full stop at the end (or
 * before a last line break: what Python's `$` matches), in lower case.
 */
function gsm8kNormal(text: string): string {
  const bare = text.replaceAll(/[,$]/g, "");
  const marked = bare.lastIndexOf("#### ");
  return bare.slice(marked < 0 ? 0 : marked + "#### ".length).replace(/\.(?=\n?$)/, "").toLowerCase();
}

/** Whether any prediction could be right: the reference answer is a number, or ends in `#### number`. */
export function isGsm8kReference(answer: string): boolean {
  return /^-?[0-9.]*[0-9][0-9.]*$/.test(gsm8kNormal(answer));
}

/** 1 when the prediction's number is that of one of the answers, else 0. */
export function gsm8kMatch(prediction: string, answers: readonly string[], mode: Gsm8kMode): number {
  const found = gsm8kNormal(gsm8kAnswer(prediction, mode));
  return answers.some((answer) => gsm8kNormal(answer) === found) ? 1 : 0;
}
