// SPDX-License-Identifier: Apache-2.0
/**
 * The assistant's turns in what a chat template writes.
 *
 * For each turn that is trained, with M the turns before it: the prompt is what the template writes for M with its
 * generation prompt, which is what generation starts from, and the answer is what it writes for M and the turn from there on.
 * Where templates keep to that, one text holds all turns of a conversation. Where a later turn changes how earlier ones are
 * written (thoughts that stay in the last turn only, another ending for the last turn, system text that moves on), a turn
 * is given a text of its own, in which it is the last one. So no text of another role is a target, all of the
 * assistant's own is, and what precedes a target is what the model is shown when it is asked.
 */
import { type ChatMessage, withText } from "./chat_message.ts";
import { RowError } from "./row_error.ts";

/** Characters [start, end) of a text. */
export type Span = readonly [start: number, end: number];

/** An assistant's turn in a text. */
export interface TurnTarget {
  /** Its place in the conversation. */
  readonly turn: number;
  readonly span: Span;
  /** Where the last thing that was said before it ends in the text: what lies between is the template's. */
  readonly saidEnd: number;
}

/** A text with the stretches that are targets, in order. */
export interface ChatText {
  readonly text: string;
  readonly targets: readonly TurnTarget[];
}

/** What a template makes of a conversation. */
export interface ChatTurns {
  /** In the order of their last turns. */
  readonly texts: readonly ChatText[];
  /** What generation starts from, to give the last trained turn: the template's own generation prompt. */
  readonly prompt: string;
  /** Turns before which the generation prompt opens something (a thought) that the turn as it is written lacks. */
  readonly openedTurns: readonly number[];
}

/** Writes turns as text. */
export type Render = (turns: readonly ChatMessage[], addGenerationPrompt: boolean) => string;

/**
 * Renders the trained turns of a conversation.
 *
 * @param trained Places of assistant turns in the messages, ascending, at least one
 * @throws {RowError} When the template refuses the messages, or a turn cannot be told from what is around it
 */
export function renderTurns(
  render: Render,
  messages: readonly ChatMessage[],
  trained: readonly number[],
): ChatTurns {
  const known: KnownEnds = { tails: new Set(), openings: new Set() };
  const turns = trained.toReversed().map((turn) => renderTurn(render, messages, turn, known));
  const texts: { text: string; targets: TurnTarget[] }[] = [];
  for (const rendered of turns) {
    const joined = texts.some(({ text, targets }) => {
      const span = spanWithin(rendered, text);
      if (span !== null) targets.unshift({ turn: rendered.turn, span, saidEnd: rendered.saidEnd });
      return span !== null;
    });
    if (joined) continue;
    const { turn, text, start, end, saidEnd } = rendered;
    texts.unshift({ text, targets: [{ turn, span: [start, end], saidEnd }] });
  }
  return {
    texts,
    prompt: (turns[0] as RenderedTurn).prompt,
    openedTurns: turns.filter(({ opened }) => opened).map(({ turn }) => turn),
  };
}

/** One turn, last in its text. */
interface RenderedTurn {
  readonly turn: number;
  readonly prompt: string;
  readonly text: string;
  /** Where the answer begins, where the assistant's own words end, and where its end mark does. */
  readonly start: number;
  readonly ownEnd: number;
  readonly end: number;
  readonly saidEnd: number;
  readonly opened: boolean;
}

/** What the template is known to write in this conversation after an answer, and from a question to the next answer. */
interface KnownEnds {
  readonly tails: Set<string>;
  readonly openings: Set<string>;
}

/** @mutates known */
function renderTurn(
  render: Render,
  messages: readonly ChatMessage[],
  turn: number,
  known: KnownEnds,
): RenderedTurn {
  const before = messages.slice(0, turn);
  const prompt = render(before, true);
  const written = render(messages.slice(0, turn + 1), false);
  const context: TurnContext = { render, messages, turn, prompt, written, known };
  const saidEnd = saidEndOf(context);
  const { text, start, opened } = placeAnswer(context, saidEnd);
  const ownEnd = text.length - tailLength(context);
  const end = text.trimEnd().length; // white space after the end mark is nobody's to learn
  if (ownEnd < start || end <= start) throw hiddenTurn(turn);
  return { turn, prompt, text, start, ownEnd, end: Math.max(ownEnd, end), saidEnd, opened };
}

interface TurnContext {
  readonly render: Render;
  readonly messages: readonly ChatMessage[];
  readonly turn: number;
  /** The turns before, with the generation prompt. */
  readonly prompt: string;
  /** The turns up to this one. */
  readonly written: string;
  readonly known: KnownEnds;
}

/** Where the answer begins, in a text that begins as generation does. */
function placeAnswer(context: TurnContext, said: number): { text: string; start: number; opened: boolean } {
  const { prompt, written, turn } = context;
  if (written.startsWith(prompt)) return { text: written, start: prompt.length, opened: false };
  const before = beforeContent(context);
  const same = commonPrefixLength(prompt, before);
  const header = before.slice(same).trim() === "";
  if (header && said <= same && written.startsWith(before.slice(0, same))) {
    // The turns before are written alike; the generation prompt goes on with what this answer has not: an opened thought.
    return { text: written, start: same, opened: true };
  }
  // The turns before are written otherwise once an answer follows: the answer goes after the prompt.
  const { length, shared } = openingLength(before, prompt);
  const follows = shared > 0 && prompt.length - shared <= said && written.startsWith(before.slice(0, length));
  if (!follows) throw movedTurns(turn);
  return { text: prompt + written.slice(length), start: prompt.length, opened: false };
}

/** Most characters that a template puts between its generation prompt and an answer: an empty thought, a header. */
const LONGEST_LEAD = 256;

/** How much of `before` ends as the prompt does: the rest is what the template puts between its prompt and an answer. */
function openingLength(before: string, prompt: string): { length: number; shared: number } {
  let best = { length: before.length, shared: -1 };
  for (let length = before.length; length >= Math.max(0, before.length - LONGEST_LEAD); length--) {
    const shared = commonSuffixLength(before.slice(0, length), prompt);
    if (shared > best.shared) best = { length, shared };
  }
  return best;
}

/** Stands for the content of a turn: of private use, so that no case, trimming or split of a template's changes it. */
const MARKER = "\u{e000}\u{e001}\u{e000}";

/** What the template writes before the content of the turn. */
function beforeContent({ render, messages, turn }: TurnContext): string {
  const marked = render(withMarker(messages, turn), false);
  const place = marked.lastIndexOf(MARKER);
  if (place < 0) throw hiddenTurn(turn);
  return marked.slice(0, place);
}

function withMarker(messages: readonly ChatMessage[], turn: number): ChatMessage[] {
  return [...messages.slice(0, turn), withText(messages[turn] as ChatMessage, MARKER)];
}

/**
 * Where the last thing that was said before the turn ends in its prompt; 0 when nothing was. What follows there is the
 * template's own: it is found by a marker in the place of what was said.
 */
function saidEndOf({ render, messages, turn, prompt, known }: TurnContext): number {
  if (turn === 0) return 0;
  const opening = knownOrMarked(known.openings, prompt, () => render(withMarker(messages, turn - 1), true));
  return opening === "hidden" ? 0 : prompt.length - (opening?.end.length ?? 0);
}

/** Length of what the template writes after the assistant's own words: its end mark. */
function tailLength({ render, messages, turn, written, known }: TurnContext): number {
  const { role, content } = messages[turn] as ChatMessage;
  const plain = withText({ role, content: content ?? "" }, MARKER);
  const marked = () => render([...messages.slice(0, turn), plain], false);
  const tail = knownOrMarked(known.tails, written, marked);
  if (tail === "hidden") throw hiddenTurn(turn);
  return tail?.end.length ?? written.length - written.trimEnd().length;
}

/**
 * The end of a text that the template writes after the content of its last turn. Known ones are tried first, as rendering
 * once more for every turn is what reading long conversations would take longest for.
 *
 * @param marked The same with a marker as content
 * @returns Null when the text ends in another way; "hidden" when the template does not show the content
 * @mutates known
 */
function knownOrMarked(
  known: Set<string>,
  text: string,
  marked: () => string,
): { readonly end: string } | null | "hidden" {
  for (const end of known) if (text.endsWith(end)) return { end };
  const shown = marked();
  const place = shown.lastIndexOf(MARKER);
  if (place < 0) return "hidden";
  const end = shown.slice(place + MARKER.length);
  if (!text.endsWith(end)) return null;
  if (end !== "") known.add(end);
  return { end };
}

/** The target that a turn is in a text of a later turn, or null when it is written otherwise there. */
function spanWithin(turn: RenderedTurn, text: string): Span | null {
  const { start, ownEnd, end } = turn;
  const same = commonPrefixLength(turn.text, text);
  if (same < ownEnd || same <= start) return null;
  if (same >= end) return [start, end];
  // The ending differs: what is left of it must be a whole mark.
  const mark = /^[^]*[>\]}\s]/.exec(text.slice(ownEnd, same))?.[0].trimEnd() ?? "";
  return mark === "" ? null : [start, ownEnd + mark.length];
}

/** Characters that two texts have in common at their beginnings. */
function commonPrefixLength(a: string, b: string): number {
  if (a.startsWith(b)) return b.length;
  if (b.startsWith(a)) return a.length;
  let [low, high] = [0, Math.min(a.length, b.length)]; // halving: comparing slices is far faster than characters
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (a.slice(low, middle) === b.slice(low, middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

function commonSuffixLength(a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let n = 0;
  while (n < limit && a.charCodeAt(a.length - 1 - n) === b.charCodeAt(b.length - 1 - n)) n++;
  return n;
}

function hiddenTurn(turn: number): RowError {
  return new RowError(
    "refused by the chat template",
    `the chat template does not show the content of messages[${turn}] as one piece`,
  );
}

function movedTurns(turn: number): RowError {
  return new RowError(
    "refused by the chat template",
    `the chat template writes the messages before messages[${turn}] otherwise once its answer follows, and the answer ` +
      `cannot be put after what generation starts from; give a template of your own with --chat-template FILE`,
  );
}
