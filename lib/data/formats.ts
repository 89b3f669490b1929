// SPDX-License-Identifier: Apache-2.0
/**
 * From a row to text: what the model is shown, which parts of it are taken as targets, and where generation starts.
 *
 * With a chat template, a row becomes a conversation and the template's words are used. Without one:
 * - `{prompt, completion}`: prompt and completion as they are;
 * - `{instruction, input?, output}`: the Alpaca template, as in the MEFT paper;
 * - `{question, answer}`: `Question: …\nAnswer: …`;
 * - `{messages}`: `System: …\nUser: …\nAssistant: …`, a turn a line;
 * each completion followed by the end-of-sequence token. `{text}` is always taken as it is, with that token.
 */
import { formatChat, given, type Segment, target } from "./chat_format.ts";
import type { ChatMessage, ChatTemplate } from "./chat_template.ts";
import type { Row } from "./rows.ts";

/** A row as text. */
export interface FormattedRow {
  /** In order; together the whole text. */
  readonly segments: readonly Segment[];
  /** What generation starts from, to give the (last) completion. Empty for `{text}`. */
  readonly prompt: readonly Segment[];
  /** Accepted completions, the first is the one trained on. Empty for `{text}`. */
  readonly answers: readonly string[];
  /** Whether the beginning-of-sequence token must be put before it: a chat template writes its own. */
  readonly plain: boolean;
}

/**
 * A row as text.
 *
 * @param template Null for the plain forms
 * @throws {RowError} When the chat template refuses the row, or hides what the assistant says
 */
export function formatRow(row: Row, template: ChatTemplate | null): FormattedRow {
  if (row.kind === "text") {
    return { segments: [target(row.text)], prompt: [], answers: [], plain: true };
  }
  const { messages, answers } = asConversation(row);
  if (template !== null) {
    const { segments, prompt } = formatChat(template, messages);
    return { segments, prompt: [given(prompt)], answers, plain: false };
  }
  const segments = plainSegments(row);
  const last = segments.findLastIndex((segment) => segment.loss);
  return { segments: segments.slice(0, last + 1), prompt: segments.slice(0, last), answers, plain: true };
}

function asConversation(
  row: Exclude<Row, { kind: "text" }>,
): { messages: readonly ChatMessage[]; answers: readonly string[] } {
  if (row.kind === "messages") {
    const last = row.messages.findLast(({ role }) => role === "assistant") as ChatMessage;
    return { messages: row.messages, answers: [last.content] };
  }
  const [user, answers] = row.kind === "prompt"
    ? [row.prompt, [row.completion]]
    : row.kind === "question"
    ? [row.question, row.answers]
    : [row.input === "" ? row.instruction : `${row.instruction}\n\n${row.input}`, [row.output]];
  const messages = [{ role: "user", content: user }, { role: "assistant", content: answers[0] as string }];
  return { messages, answers };
}

function plainSegments(row: Exclude<Row, { kind: "text" }>): Segment[] {
  if (row.kind === "prompt") return [given(row.prompt), target(row.completion)];
  if (row.kind === "question") {
    return [given(`Question: ${row.question}\nAnswer:`), target(` ${row.answers[0]}`)];
  }
  if (row.kind === "instruction") {
    return [given(alpacaPrompt(row.instruction, row.input)), target(row.output)];
  }
  return row.messages.flatMap(({ role, content }) => {
    const name = `${role.slice(0, 1).toUpperCase()}${role.slice(1)}:`;
    return role === "assistant" ? [given(name), target(` ${content}`)] : [given(`${name} ${content}\n`)];
  });
}

/** The template of Stanford Alpaca. */
function alpacaPrompt(instruction: string, input: string): string {
  const task = "Below is an instruction that describes a task";
  const request = "Write a response that appropriately completes the request.";
  if (input === "") return `${task}. ${request}\n\n### Instruction:\n${instruction}\n\n### Response:\n`;
  return `${task}, paired with an input that provides further context. ${request}\n\n` +
    `### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:\n`;
}
