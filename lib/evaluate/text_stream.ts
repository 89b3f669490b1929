// SPDX-License-Identifier: Apache-2.0
/** The text of one answer as it is generated, ending at a stop string. */
import { createDetokenizer, type Detokenizer, finishText, pushId } from "../data/detokenizer.ts";
import type { Tokenizer } from "../data/tokenizer.ts";

/** State of one answer. */
export interface TextStream {
  readonly tokenizer: Tokenizer;
  readonly stopStrings: readonly string[];
  /** Special tokens that are written by name. */
  readonly shownIds: ReadonlySet<number>;
  /** Of what came since the last shown special token. */
  detokenizer: Detokenizer;
  /** Text that may be the beginning of a stop string, not given out yet. */
  held: string;
}

/** New text, and whether a stop string came: what follows it is nobody's. */
export interface TextPiece {
  readonly text: string;
  readonly stopped: boolean;
}

/** An answer at its beginning. */
export function createTextStream(
  tokenizer: Tokenizer,
  stopStrings: readonly string[] = [],
  shownIds: ReadonlySet<number> = new Set(),
): TextStream {
  return { tokenizer, stopStrings, shownIds, detokenizer: createDetokenizer(tokenizer), held: "" };
}

/** Takes one id. The stop string itself is not part of the text. @mutates stream */
export function pushToken(stream: TextStream, id: number): TextPiece {
  if (!stream.shownIds.has(id)) return cutAtStop(stream, pushId(stream.detokenizer, id));
  const before = finishText(stream.detokenizer);
  stream.detokenizer = createDetokenizer(stream.tokenizer);
  return cutAtStop(stream, before + (stream.tokenizer.token(id) ?? ""));
}

/** The rest of the text when no more ids come. @mutates stream */
export function finishStream(stream: TextStream): string {
  const { text } = cutAtStop(stream, finishText(stream.detokenizer));
  const rest = text + stream.held;
  stream.held = "";
  return rest;
}

function cutAtStop(stream: TextStream, added: string): TextPiece {
  const open = stream.held + added;
  const places = stream.stopStrings.map((stop) => open.indexOf(stop)).filter((place) => place >= 0);
  if (places.length > 0) {
    stream.held = "";
    return { text: open.slice(0, Math.min(...places)), stopped: true };
  }
  const keep = open.length - heldLength(open, stream.stopStrings);
  stream.held = open.slice(keep);
  return { text: open.slice(0, keep), stopped: false };
}

/** Length of the longest end of the text that a stop string begins with. */
function heldLength(text: string, stopStrings: readonly string[]): number {
  let longest = 0;
  for (const stop of stopStrings) {
    for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(stop.slice(0, length))) longest = length;
    }
  }
  return longest;
}
