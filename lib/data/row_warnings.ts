// SPDX-License-Identifier: Apache-2.0
/** What is worth a person's look before training starts: counted over all rows, with the place of the first. */
import { type ChatMessage, contentText, isThoughtField, thoughtText } from "./chat_message.ts";
import type { ChatTemplate } from "./chat_template.ts";
import type { ChatTurns } from "./chat_turns.ts";
import type { ConversationRow } from "./conversation.ts";
import type { FormatOptions } from "./format_options.ts";
import type { Row } from "./row_shapes.ts";
import { formatPlace, type RowPlace } from "./rows.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What happens, as a sentence after a count: `3 assistant turns …`. */
const MEANINGS = {
  "lost answer": "assistant turns lose text in the chat template, which is not learnt",
  "lost text": "turns of other roles lose text in the chat template",
  "no end": "assistant turns end without a special token, so the model does not learn where to stop",
  "opened thought":
    "assistant turns lack what the generation prompt opens (a thought), so answers start otherwise when asked",
  "turns apart":
    "conversations become several examples, because the chat template writes earlier turns otherwise once others follow",
  "unread field": "rows have a field, or are given a variable, that the chat template never reads",
  "special tokens": "rows hold names of special tokens in their text, which become those tokens",
  "doubled end": "answers already ended in the end token, which is written once",
  "doubled start": "texts already began with the beginning-of-sequence token, which is written once",
  "split token": "assistant turns begin inside a token, so the last token of the prompt differs when asked",
  "cut turns": "turns of conversations lie beyond the sequence length and are left out",
} as const;

/** Kinds of warnings. */
export type WarningKind = keyof typeof MEANINGS;

/** One of a row; `detail` names the field, role or token. */
export interface RowWarning {
  readonly kind: WarningKind;
  readonly detail?: string;
  /** Of how many things in this row; 1 when absent. */
  readonly count?: number;
}

/** One kind over a whole data set. */
export interface DataWarning {
  readonly kind: WarningKind;
  /** Fields, roles or tokens, each once, in the order met. */
  readonly details: readonly string[];
  readonly count: number;
  readonly first: RowPlace;
}

/** Details that a message names at most. */
const NAMED = 5;

/** `3 assistant turns … (<think>); the first in train.jsonl:7`. */
export function formatWarning({ kind, details, count, first }: DataWarning): string {
  const named = details.slice(0, NAMED).map((detail) => `"${detail}"`).join(", ");
  const more = details.length > NAMED ? ", …" : "";
  const which = details.length === 0 ? "" : ` (${named}${more})`;
  return `${count} ${MEANINGS[kind]}${which}; the first in ${formatPlace(first)}`;
}

/** What finds names of special tokens in texts; null when there are none. */
export function specialTokenPattern(
  { specialIds, token }: Pick<Tokenizer, "specialIds" | "token">,
): RegExp | null {
  const names = [...specialIds].map((id) => token(id)).filter((name) => name !== null && name !== "");
  if (names.length === 0) return null;
  const escaped = names.map((name) => (name as string).replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(escaped.sort((a, b) => b.length - a.length).join("|"));
}

/** Names of special tokens in what a row says: text that becomes marks. */
export function specialTokenWarnings(row: Row, pattern: RegExp | null): RowWarning[] {
  if (pattern === null) return [];
  const found = rowTexts(row).map((text) => pattern.exec(text)?.[0]).filter((name) => name !== undefined);
  return ofOneRow("special tokens", new Set(found));
}

/** One warning of a row with several details: it counts once. */
function ofOneRow(kind: WarningKind, details: Iterable<string>): RowWarning[] {
  return [...details].map((detail, i) => ({ kind, detail, count: i === 0 ? 1 : 0 }));
}

function rowTexts(row: Row): string[] {
  switch (row.kind) {
    case "text":
      return [row.text];
    case "prompt":
      return [row.prompt, row.completion];
    case "question":
      return [row.question, row.answers[0] as string];
    case "instruction":
      return [row.instruction, row.input, row.output];
    case "messages":
      return row.messages.flatMap((message) => [contentText(message.content), thoughtText(message)]);
  }
}

/** Adds up the warnings of rows. */
export class WarningCounter {
  readonly #byKind = new Map<WarningKind, { count: number; details: Set<string>; first: RowPlace }>();

  add(place: RowPlace, warnings: readonly RowWarning[]): void {
    for (const { kind, detail, count = 1 } of warnings) {
      const seen = this.#byKind.get(kind) ?? { count: 0, details: new Set(), first: place };
      seen.count += count;
      if (detail !== undefined) seen.details.add(detail);
      this.#byKind.set(kind, seen);
    }
  }

  finish(): DataWarning[] {
    return [...this.#byKind].map(([kind, { count, details, first }]) => ({
      kind,
      details: [...details],
      count,
      first,
    }));
  }
}

/** What a chat template made of a conversation that a person would not expect. */
export function templateWarnings(
  template: ChatTemplate,
  row: ConversationRow,
  messages: readonly ChatMessage[],
  { texts, openedTurns }: ChatTurns,
  { thinking = "auto", templateOptions = {} }: FormatOptions,
): RowWarning[] {
  const warnings: RowWarning[] = [];
  if (texts.length > 1) warnings.push({ kind: "turns apart" });
  if (openedTurns.length > 0) warnings.push({ kind: "opened thought", count: openedTurns.length });
  warnings.push(...lostAnswers(messages, texts), ...lostTexts(messages, texts));
  const told = [...(thinking === "auto" ? [] : ["enable_thinking"]), ...Object.keys(templateOptions)];
  warnings.push(...unreadFields(template, row, messages, told));
  return warnings;
}

function lostAnswers(messages: readonly ChatMessage[], texts: ChatTurns["texts"]): RowWarning[] {
  const lost = texts.flatMap(({ text, targets }) =>
    targets.filter(({ turn, span: [start, end] }) => {
      const message = messages[turn] as ChatMessage;
      return !showsAll(text.slice(start, end), `${thoughtText(message)}\n${contentText(message.content)}`);
    })
  );
  return lost.length === 0 ? [] : [{ kind: "lost answer", count: lost.length }];
}

/** Turns of other roles before a trained one that are not in its text. */
function lostTexts(messages: readonly ChatMessage[], texts: ChatTurns["texts"]): RowWarning[] {
  const { text, targets } = texts.at(-1) as ChatTurns["texts"][number];
  const before = messages.slice(0, targets.at(-1)?.turn);
  let from = 0;
  return before.flatMap(({ role, content }): RowWarning[] => {
    if (role === "assistant") return [];
    const said = contentText(content);
    const place = text.indexOf(said, from);
    if (place >= 0) {
      from = place + said.length;
      return [];
    }
    return showsAll(text, said) ? [] : [{ kind: "lost text", detail: role }];
  });
}

/** Whether every line of `said`, without marks of thoughts and white space around, stands in the text, in order. */
function showsAll(text: string, said: string): boolean {
  let from = 0;
  for (const part of said.split(/\r?\n|<\/?think>/)) {
    const line = part.trim();
    if (line === "") continue;
    const place = text.indexOf(line, from);
    if (place < 0) return false;
    from = place + line.length;
  }
  return true;
}

const ALWAYS_READ: ReadonlySet<string> = new Set(["role", "content", "weight"]);

/** Fields that a template must name to read them: with none of these letters in its text, they come to nothing. */
function unreadFields(
  { source }: ChatTemplate,
  { context = {} }: ConversationRow,
  messages: readonly ChatMessage[],
  told: readonly string[],
): RowWarning[] {
  const { system: _, templateOptions = {}, ...lists } = context;
  const names = new Set([...told, ...Object.keys(templateOptions), ...Object.keys(lists)]);
  for (const message of messages) {
    for (const [name, value] of Object.entries(message)) {
      if (!ALWAYS_READ.has(name) && value !== null && value !== undefined) names.add(name);
    }
  }
  const reads = (name: string): boolean =>
    isThoughtField(name) ? /reasoning_content|(?<!enable_)thinking/.test(source) : source.includes(name);
  return ofOneRow("unread field", [...names].filter((name) => !reads(name)));
}
