// SPDX-License-Identifier: Apache-2.0
/** Conversations as text, with the assistant's turns found in what a chat template wrote. */
import type { ChatMessage, ChatTemplate } from "./chat_template.ts";
import { RowError } from "./rows.ts";

/** A stretch of text that is target of the loss or not. */
export interface Segment {
  readonly text: string;
  readonly loss: boolean;
  /** The end-of-sequence token follows, with loss. */
  readonly endsTurn: boolean;
}

/** Text the model is shown. */
export function given(text: string): Segment {
  return { text, loss: false, endsTurn: false };
}

/** Text the model is to write, and then stop. */
export function target(text: string): Segment {
  return { text, loss: true, endsTurn: true };
}

type Render = (turns: readonly ChatMessage[], addGenerationPrompt?: boolean) => string;
type Span = readonly [start: number, end: number];

/**
 * Renders a conversation and finds the assistant turns in it.
 *
 * Templates may look at the whole conversation, so that rendering its beginning need not give a beginning of the whole
 * (Qwen 3 drops the thoughts of earlier turns). Therefore the contents of assistant turns are replaced by markers, and
 * the text between the markers is the template's own: content, template text and content again must give the whole.
 * The target of a turn starts where the generation prompt ends and goes on to the end-of-turn mark, which is what the
 * template writes after this turn whether or not others follow.
 *
 * @returns The segments up to the last target, and the text before that target, which generation is to start from (the
 *   template's generation prompt, less what only its makers' answers begin with: an opened thought)
 * @throws {RowError} When the template refuses the messages, or an assistant turn cannot be found in its text
 */
export function formatChat(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
): { segments: readonly Segment[]; prompt: string } {
  const enableThinking = messages.some(({ role, content }) =>
    role === "assistant" && content.includes("</think>")
  );
  const render: Render = (turns, addGenerationPrompt = false) => {
    try {
      return template.render(turns, { addGenerationPrompt, enableThinking });
    } catch (error) {
      throw new RowError(
        "refused by the chat template",
        `the chat template says: ${(error as Error).message}`,
      );
    }
  };
  const whole = render(messages);
  const turns = messages.flatMap(({ role }, i) => role === "assistant" ? [i] : []);
  const prompts = turns.map((turn) => render(messages.slice(0, turn), true));
  const marks = turns.map((turn) => turnEndMark(render, messages, turn));
  const spans = contentSpans(render, messages, { turns, prompts, marks, whole });
  const segments: Segment[] = [];
  let [cursor, start] = [0, 0];
  spans.forEach(([contentStart, contentEnd], n) => {
    const promptEnd = Math.min(commonPrefixLength(prompts[n] as string, whole), contentStart);
    start = Math.max(cursor, promptEnd);
    const mark = marks[n] as string;
    const end = contentEnd + (whole.startsWith(mark, contentEnd) ? mark.length : 0);
    if (start > cursor) segments.push(given(whole.slice(cursor, start)));
    segments.push({ text: whole.slice(start, end), loss: true, endsTurn: false });
    cursor = end;
  });
  return { segments, prompt: whole.slice(0, start) };
}

/** Stands for the content of a turn; two code points of private use around its number. */
function marker(turn: number): string {
  return `\u{e000}${turn}\u{e001}`;
}

/** What is known of the assistant turns before their contents are looked for; a list has one entry a turn. */
interface AssistantTurns {
  /** Places in the messages. */
  readonly turns: readonly number[];
  readonly prompts: readonly string[];
  readonly marks: readonly string[];
  readonly whole: string;
}

/** [start, end) of every assistant content in the whole rendering. */
function contentSpans(
  render: Render,
  messages: readonly ChatMessage[],
  { turns, prompts, marks, whole }: AssistantTurns,
): Span[] {
  const marked = render(
    messages.map((message, i) => message.role === "assistant" ? { ...message, content: marker(i) } : message),
  );
  const pieces = splitAt(marked, turns);
  let at = 0;
  return turns.map((turn, n): Span => {
    const [before, after, mark] = [pieces[n] as string, pieces[n + 1] as string, marks[n] as string];
    const isLast = n === turns.length - 1;
    const follows = (end: number): boolean =>
      isLast ? whole.slice(end) === after : whole.startsWith(mark, end);
    const { content } = messages[turn] as ChatMessage;
    const shown = whole.startsWith(before, at)
      ? shownContent(whole, at + before.length, content, follows)
      : null;
    const start = commonPrefixLength(prompts[n] as string, whole);
    const span = shown ?? rewrittenContent(whole, start, isLast ? null : mark || after, after);
    if (span === null || span[0] < at) throw hiddenTurn(turn);
    at = span[1];
    return span;
  });
}

/** The template's text before, between and after the markers. */
function splitAt(marked: string, turns: readonly number[]): string[] {
  const pieces: string[] = [];
  let from = 0;
  for (const turn of turns) {
    const place = marked.indexOf(marker(turn), from);
    if (place < 0) throw hiddenTurn(turn);
    pieces.push(marked.slice(from, place));
    from = place + marker(turn).length;
  }
  return [...pieces, marked.slice(from)];
}

/** The content as it is, or with white space trimmed, or without the thoughts before it. */
function shownContent(
  whole: string,
  start: number,
  content: string,
  follows: (end: number) => boolean,
): Span | null {
  const spoken = content.split("</think>").at(-1) as string;
  for (const form of [content, content.trim(), content.trimEnd(), content.trimStart(), spoken.trim()]) {
    if (whole.startsWith(form, start) && follows(start + form.length)) return [start, start + form.length];
  }
  return null;
}

/**
 * For templates that write something else than the content (thoughts set apart): from the prompt's end to what follows.
 *
 * @param next What follows a turn that is not the last; null for the last one, which the rendering's `ending` follows
 */
function rewrittenContent(whole: string, start: number, next: string | null, ending: string): Span | null {
  if (next === "" || (next === null && !whole.endsWith(ending))) return null;
  const end = next === null ? whole.length - ending.length : whole.indexOf(next, start);
  return end > start ? [start, end] : null;
}

function hiddenTurn(turn: number): RowError {
  return new RowError(
    "refused by the chat template",
    `the chat template does not show the content of messages[${turn}] as one piece`,
  );
}

/** What the template writes after a turn; white space after a mark is nobody's to learn. */
function turnEndMark(render: Render, messages: readonly ChatMessage[], turn: number): string {
  const { role } = messages[turn] as ChatMessage;
  const alone = render([...messages.slice(0, turn), { role, content: marker(turn) }]);
  const place = alone.lastIndexOf(marker(turn));
  const tail = place < 0 ? "" : alone.slice(place + marker(turn).length);
  return tail.trimEnd() === "" ? tail : tail.trimEnd();
}

function commonPrefixLength(a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let n = 0;
  while (n < limit && a.charCodeAt(n) === b.charCodeAt(n)) n++;
  return n;
}
