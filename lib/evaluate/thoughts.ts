// SPDX-License-Identifier: Apache-2.0
/** What a reasoning model says beside its thoughts: the same cut for predictions and for accepted answers. */
import type { Tokenizer } from "../data/tokenizer.ts";

/** Marks around thoughts: Qwen and DeepSeek, others of that manner, Magistral, Sky-T1 and OpenThinker, Command A, Seed. */
const MARKS: readonly (readonly [open: string, close: string])[] = [
  ["<think>", "</think>"],
  ["<thinking>", "</thinking>"],
  ["[THINK]", "[/THINK]"],
  ["<|begin_of_thought|>", "<|end_of_thought|>"],
  ["<|START_THINKING|>", "<|END_THINKING|>"],
  ["<seed:think>", "</seed:think>"],
];

/**
 * The text after the last thought, without white space around it. A thought needs no opening mark, because prompts may have
 * opened it; one that was opened and not closed (cut off by the most tokens of an answer) has nothing after it: "".
 *
 * @param opened Whether a thought was open before the text began
 */
export function spokenText(text: string, opened = false): string {
  const ends = MARKS.map(([, close]) => {
    const at = text.lastIndexOf(close);
    return at < 0 ? 0 : at + close.length;
  });
  const start = Math.max(...ends);
  const spoken = text.slice(start).trim();
  const cutOff = (opened && start === 0) || MARKS.some(([open]) => spoken.startsWith(open));
  return cutOff ? "" : spoken;
}

/** Whether a text, such as a prompt, ends by opening a thought. */
export function opensThought(text: string): boolean {
  const end = text.trimEnd();
  return MARKS.some(([open]) => end.endsWith(open));
}

/** Ids of the marks that a tokenizer holds as special tokens, which texts of its ids leave out unless told otherwise. */
export function specialMarkIds(tokenizer: Tokenizer): ReadonlySet<number> {
  const marks = new Set(MARKS.flat());
  return new Set([...tokenizer.specialIds].filter((id) => marks.has(tokenizer.token(id) ?? "")));
}
