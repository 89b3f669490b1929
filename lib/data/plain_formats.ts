// SPDX-License-Identifier: Apache-2.0
/** Rows as text without a chat template. */
import { type ChatMessage, contentText } from "./chat_message.ts";
import { asConversation } from "./conversation.ts";
import { RowError } from "./row_error.ts";
import type { Row } from "./row_shapes.ts";

/** A stretch of text that is target of the loss or not. A target ends with the end-of-sequence token. */
export interface Segment {
  readonly text: string;
  readonly loss: boolean;
}

/** Text the model is shown. */
export function given(text: string): Segment {
  return { text, loss: false };
}

/** Text the model is to write, and then stop. */
export function target(text: string): Segment {
  return { text, loss: true };
}

/** Fields of a turn that say nothing about its text. */
const WITHOUT_TEXT: ReadonlySet<string> = new Set(["role", "content", "weight"]);

/**
 * The stretches of a row, up to its last completion; consecutive ones without loss are one.
 *
 * @throws {RowError} When the row has something that only a chat template can show
 */
export function plainSegments(row: Row): Segment[] {
  refuseTemplateFields(row);
  if (row.kind === "text") return [target(row.text)];
  if (row.kind === "prompt") return [given(row.prompt), target(row.completion)];
  if (row.kind === "question") {
    return [given(`Question: ${row.question}\nAnswer:`), target(` ${row.answers[0]}`)];
  }
  if (row.kind === "instruction") {
    return [given(alpacaPrompt(row.instruction, row.input)), target(row.output)];
  }
  const { messages, trained } = asConversation(row);
  const learnt = new Set(trained);
  return joinGiven(messages.flatMap((message, i) => turnSegments(message, learnt.has(i))));
}

function turnSegments({ role, content }: ChatMessage, trained: boolean): Segment[] {
  const name = `${role.slice(0, 1).toUpperCase()}${role.slice(1)}:`;
  const text = contentText(content);
  if (trained) return [given(name), target(` ${text}`)];
  return [given(`${name} ${text}\n`)];
}

function joinGiven(segments: readonly Segment[]): Segment[] {
  const joined: Segment[] = [];
  for (const segment of segments) {
    const last = joined.at(-1);
    if (last === undefined || last.loss || segment.loss) joined.push(segment);
    else joined[joined.length - 1] = given(last.text + segment.text);
  }
  return joined.slice(0, joined.findLastIndex(({ loss }) => loss) + 1);
}

function refuseTemplateFields(row: Row): void {
  const { system, ...others } = row.context ?? {};
  const names = Object.keys(others).map((name) => name === "templateOptions" ? "chat_template_kwargs" : name);
  if (system !== undefined && row.kind !== "messages") names.push("system");
  if (row.kind === "messages") {
    row.messages.forEach((message, i) => {
      const unseen = Object.entries(message).filter(([name, value]) =>
        !WITHOUT_TEXT.has(name) && value !== null && value !== undefined
      );
      names.push(...unseen.map(([name]) => `messages[${i}].${name}`));
    });
  }
  if (names.length === 0) return;
  throw new RowError(
    "unsupported field",
    `without a chat template there is no place for ${names.map((name) => `"${name}"`).join(", ")}; ` +
      `give one with --chat-template FILE, or leave the field out`,
  );
}

/** The template of Stanford Alpaca. */
function alpacaPrompt(instruction: string, input: string): string {
  const task = "Below is an instruction that describes a task";
  const request = "Write a response that appropriately completes the request.";
  if (input === "") return `${task}. ${request}\n\n### Instruction:\n${instruction}\n\n### Response:\n`;
  return `${task}, paired with an input that provides further context. ${request}\n\n` +
    `### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:\n`;
}
