// SPDX-License-Identifier: Apache-2.0
/** Ids to text one by one, for streaming: a character of several tokens comes when its last token is there. */
import type { Tokenizer } from "./tokenizer.ts";

/** What a broken-off UTF-8 character decodes to. */
const REPLACEMENT = "\u{fffd}";

/**
 * Tokens of one byte each. A run of them is text as a whole or not at all: where its bytes are not UTF-8, each becomes a
 * replacement character, also those that would be characters by themselves.
 */
const BYTE_TOKEN = /^<0x[0-9A-F]{2}>$/;

/** State of one stream of ids. All texts given out, joined, are the text of all ids. */
export interface Detokenizer {
  readonly tokenizer: Tokenizer;
  /** Whether special tokens are written by name; else they give no text. */
  readonly keepSpecial: boolean;
  /** Ids since `shown` began: those before `open` have been given out, but decide how the rest is written. */
  ids: number[];
  open: number;
}

/** A stream at its beginning. */
export function createDetokenizer(tokenizer: Tokenizer, keepSpecial = false): Detokenizer {
  return { tokenizer, keepSpecial, ids: [], open: 0 };
}

/**
 * Takes one id and gives the text that is now certain, "" while a character is incomplete.
 *
 * Tokenizers write a token differently at the start of a text (without its space), so the ids given out last are
 * decoded again with the new ones, and the difference is the new text.
 *
 * @param next The id that comes next, where it is known: without it, the text of byte tokens waits for it
 * @mutates state
 */
export function pushId(state: Detokenizer, id: number, next?: number): string {
  if (!state.keepSpecial && state.tokenizer.specialIds.has(id)) return "";
  state.ids.push(id);
  if (state.tokenizer.decodesWhole === true) return "";
  if (isByte(state, id) && (next === undefined || isByte(state, next))) return "";
  const added = openText(state);
  if (added === "" || added.endsWith(REPLACEMENT)) return "";
  state.ids = state.ids.slice(state.open);
  state.open = state.ids.length;
  return added;
}

/** The rest when the stream ends, with a replacement character for a broken-off one. @mutates state */
export function finishText(state: Detokenizer): string {
  const added = openText(state);
  state.open = state.ids.length;
  return added;
}

function isByte({ tokenizer }: Detokenizer, id: number): boolean {
  return BYTE_TOKEN.test(tokenizer.token(id) ?? "");
}

function openText({ tokenizer, keepSpecial, ids, open }: Detokenizer): string {
  const before = tokenizer.decode(ids.slice(0, open), { keepSpecial });
  return tokenizer.decode(ids, { keepSpecial }).slice(before.length);
}
