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
import { type ChatMessage, contentText, withText } from "./chat_message.ts";
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
  const tails = new Set<string>();
  const turns = trained.toReversed().map((turn) => renderTurn(render, messages, turn, tails));
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

/** @mutates tails: what the template is known to write after an answer */
function renderTurn(
  render: Render,
  messages: readonly ChatMessage[],
  turn: number,
  tails: Set<string>,
): RenderedTurn {
  const before = messages.slice(0, turn);
  const prompt = render(before, true);
  const written = render(messages.slice(0, turn + 1), false);
  const context: TurnContext = { render, messages, turn, prompt, written };
  const { text, start, opened } = placeAnswer(context);
  const ownEnd = text.length - tailLength(context, tails);
  const end = text.trimEnd().length; // white space after the end mark is nobody's to learn
  if (ownEnd < start || end <= start) throw hiddenTurn(turn);
  const saidEnd = lastSaidEnd(context, prompt);
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
}

/** Where the answer begins, in a text that begins as generation does. */
function placeAnswer(context: TurnContext): { text: string; start: number; opened: boolean } {
  const { prompt, written, turn } = context;
  if (written.startsWith(prompt)) return { text: written, start: prompt.length, opened: false };
  const before = beforeContent(context);
  const same = commonPrefixLength(prompt, before);
  const said = lastSaidEnd(context, prompt);
  if (said <= same && written.startsWith(before.slice(0, same))) {
    // The turns before are written alike; the generation prompt goes on with what this answer has not: an opened thought.
    return { text: written, start: same, opened: true };
  }
  // The turns before are written otherwise once an answer follows: the answer goes after the prompt.
  if (!written.startsWith(before)) throw movedTurns(turn);
  const lead = leadLength(before, prompt);
  const shared = commonSuffixLength(before.slice(0, before.length - lead), prompt);
  if (shared === 0 || prompt.length - shared > said) throw movedTurns(turn);
  return { text: prompt + written.slice(before.length - lead), start: prompt.length, opened: false };
}

/** Most characters that a template puts between its generation prompt and an answer. */
const LONGEST_LEAD = 8;

/** Characters at the end of `before` that the prompt lacks: the length that lets most of the rest agree. */
function leadLength(before: string, prompt: string): number {
  let [best, most] = [0, -1];
  for (let lead = 0; lead <= Math.min(LONGEST_LEAD, before.length); lead++) {
    const shared = commonSuffixLength(before.slice(0, before.length - lead), prompt);
    if (shared > most) [best, most] = [lead, shared];
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

/** Where the last thing that was said before the turn ends in a text; 0 when nothing was. */
function lastSaidEnd({ messages, turn }: TurnContext, text: string): number {
  for (let i = turn - 1; i >= 0; i--) {
    const said = contentText((messages[i] as ChatMessage).content).trim();
    const place = said === "" ? -1 : text.lastIndexOf(said);
    if (place >= 0) return place + said.length;
  }
  return 0;
}

/**
 * Length of what the template writes after the assistant's own words: its end mark. Known ones are tried first, as
 * rendering once more for every turn of a long conversation is what its reading would take longest for.
 *
 * @mutates tails
 */
function tailLength({ render, messages, turn, written }: TurnContext, tails: Set<string>): number {
  for (const tail of tails) if (written.endsWith(tail)) return tail.length;
  const { role, content } = messages[turn] as ChatMessage;
  const plain = withText({ role, content: content ?? "" }, MARKER);
  const marked = render([...messages.slice(0, turn), plain], false);
  const place = marked.lastIndexOf(MARKER);
  if (place < 0) throw hiddenTurn(turn);
  const tail = marked.slice(place + MARKER.length);
  if (!written.endsWith(tail)) return written.length - written.trimEnd().length;
  if (tail !== "") tails.add(tail);
  return tail.length;
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
export function commonPrefixLength(a: string, b: string): number {
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
