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
  const start = thoughtEnd(text);
  const spoken = text.slice(start).trim();
  const cutOff = (opened && start === 0) || MARKS.some(([open]) => spoken.startsWith(open));
  return cutOff ? "" : spoken;
}

/**
 * Where in a text under way what is said begins: after thoughts and the white space that follows them, or at 0 without any.
 * Null while that is open: within a thought, or where one may begin.
 *
 * @param opened As of {@linkcode spokenText}
 */
export function speechStart(text: string, opened: boolean): number | null {
  const thought = thoughtEnd(text);
  if (thought === 0 && opened) return null;
  const said = text.slice(thought).trimStart();
  if (said === "" || MARKS.some(([open]) => said.startsWith(open) || open.startsWith(said))) return null;
  return thought === 0 ? 0 : text.length - said.length;
}

/** Whether a text whose speech has not begun is within its first thought. */
export function isThinking(text: string, opened: boolean): boolean {
  const begin = text.trimStart();
  return thoughtEnd(text) === 0 && (opened || MARKS.some(([open]) => begin.startsWith(open)));
}

/** Whether there is a thought in a text whose speech has not begun. */
export function hasThought(text: string, opened: boolean): boolean {
  return thoughtEnd(text) > 0 || isThinking(text, opened);
}

/** Whether a text, such as a prompt, ends by opening a thought. */
export function opensThought(text: string): boolean {
  const end = text.trimEnd();
  return MARKS.some(([open]) => end.endsWith(open));
}

/** Tokens at the end of a prompt that the mark of an opened thought and white space after it may have. */
const OPENING_TOKENS = 24;

/** Whether a prompt ends by opening a thought, for the answer to go on with. */
export function promptOpensThought(ids: readonly number[], tokenizer: Tokenizer): boolean {
  return opensThought(tokenizer.decode(ids.slice(-OPENING_TOKENS), { keepSpecial: true }));
}

/** End of the last closing mark; 0 without any. */
function thoughtEnd(text: string): number {
  const ends = MARKS.map(([, close]) => {
    const at = text.lastIndexOf(close);
    return at < 0 ? 0 : at + close.length;
  });
  return Math.max(...ends);
}

/** Ids of the marks that a tokenizer holds as special tokens, which texts of its ids leave out unless told otherwise. */
export function specialMarkIds(tokenizer: Tokenizer): ReadonlySet<number> {
  const marks = new Set(MARKS.flat());
  return new Set([...tokenizer.specialIds].filter((id) => marks.has(tokenizer.token(id) ?? "")));
}
