// SPDX-License-Identifier: Apache-2.0
/** The text of one answer as it is generated, ending at a stop string. */
import { createDetokenizer, type Detokenizer, finishText, pushId } from "../data/detokenizer.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { hasThought, isThinking, speechStart } from "./thoughts.ts";

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
  /** Text before anything is said, where stop strings do not count; null once they do. */
  thoughts: { text: string; readonly opened: boolean; thinking: boolean } | null;
}

/** How the text of an answer is made. */
export interface TextStreamOptions {
  readonly stopStrings?: readonly string[];
  readonly shownIds?: ReadonlySet<number>;
  /** Stop strings count only once thoughts are over; until then no text is given out. */
  readonly stopsAfterThoughts?: boolean;
  /** Whether the prompt has opened a thought. */
  readonly opened?: boolean;
}

/** New text, and whether a stop string came: what follows it is nobody's. */
export interface TextPiece {
  readonly text: string;
  readonly stopped: boolean;
}

/** An answer at its beginning. */
export function createTextStream(tokenizer: Tokenizer, options: TextStreamOptions = {}): TextStream {
  const { stopStrings = [], shownIds = new Set(), stopsAfterThoughts = false, opened = false } = options;
  return {
    tokenizer,
    stopStrings,
    shownIds,
    detokenizer: createDetokenizer(tokenizer),
    held: "",
    thoughts: stopsAfterThoughts && stopStrings.length > 0 ? { text: "", opened, thinking: opened } : null,
  };
}

/** Takes one id. The stop string itself is not part of the text. @mutates stream */
export function pushToken(stream: TextStream, id: number): TextPiece {
  if (!stream.shownIds.has(id)) return takeText(stream, pushId(stream.detokenizer, id));
  const before = finishText(stream.detokenizer);
  stream.detokenizer = createDetokenizer(stream.tokenizer);
  return takeText(stream, before + (stream.tokenizer.token(id) ?? ""));
}

/** The rest of the text when no more ids come. @mutates stream */
export function finishStream(stream: TextStream): string {
  const first = takeText(stream, finishText(stream.detokenizer));
  const { thoughts } = stream;
  stream.thoughts = null;
  // Never said, or no thought at all: white space alone, or the beginning of a mark.
  const rest = thoughts === null
    ? ""
    : hasThought(thoughts.text, thoughts.opened)
    ? thoughts.text
    : cutAtStop(stream, thoughts.text).text;
  const text = first.text + rest + stream.held;
  stream.held = "";
  return text;
}

/** Text under way: thoughts are kept until something is said. @mutates stream */
function takeText(stream: TextStream, added: string): TextPiece {
  const { thoughts } = stream;
  if (thoughts === null) return cutAtStop(stream, added);
  thoughts.text += added;
  // Marks end in one of these: a long thought is not looked through at every token.
  if (thoughts.thinking && !/[>\]]/.test(added)) return { text: "", stopped: false };
  thoughts.thinking = isThinking(thoughts.text, thoughts.opened);
  const start = speechStart(thoughts.text, thoughts.opened);
  if (start === null) return { text: "", stopped: false };
  stream.thoughts = null;
  const { text, stopped } = cutAtStop(stream, thoughts.text.slice(start));
  return { text: thoughts.text.slice(0, start) + text, stopped };
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
