// SPDX-License-Identifier: Apache-2.0
/** Rows as conversations, and how a chat template is asked to write one. */
import { type ChatMessage, contentText, hasThoughts, isTrainedTurn } from "./chat_message.ts";
import type { ChatTemplate, RenderOptions } from "./chat_template.ts";
import type { Render } from "./chat_turns.ts";
import type { FormatOptions } from "./format_options.ts";
import { RowError } from "./row_error.ts";
import type { Row } from "./row_shapes.ts";

/** A row's turns. */
export interface Conversation {
  readonly messages: readonly ChatMessage[];
  /** Places of the assistant turns that are trained, ascending, at least one. */
  readonly trained: readonly number[];
  /** Accepted texts of the last trained turn; the first is the one trained on. */
  readonly answers: readonly string[];
}

/** A row that holds more than a text. */
export type ConversationRow = Exclude<Row, { kind: "text" }>;

/** The row with the options' system text, where it has none of its own. */
export function withSystem(row: ConversationRow, { system }: FormatOptions): ConversationRow {
  const own = row.kind === "messages" && row.messages[0]?.role === "system";
  if (system === undefined || own || row.context?.system !== undefined) return row;
  return { ...row, context: { ...row.context, system } };
}

/** The turns of a row, its system text before them. */
export function asConversation(row: ConversationRow): Conversation {
  const { messages, firstTrained, answers } = turnsOf(row);
  const system = row.context?.system;
  const all = system === undefined ? messages : [{ role: "system", content: system }, ...messages];
  const from = firstTrained + all.length - messages.length;
  const trained = all.flatMap((message, i) => i >= from && isTrainedTurn(message) ? [i] : []);
  return { messages: all, trained, answers };
}

/**
 * Renders as the row and the options want it. `enable_thinking` is on exactly when an assistant turn holds thoughts,
 * unless the row or the options say.
 *
 * @throws {RowError} From the function returned: the template refuses the messages, in its own words
 */
export function conversationRender(
  template: ChatTemplate,
  row: ConversationRow,
  messages: readonly ChatMessage[],
  { thinking = "auto", templateOptions = {} }: FormatOptions,
): Render {
  const { tools, documents, templateOptions: own = {} } = row.context ?? {};
  const options: Omit<RenderOptions, "addGenerationPrompt"> = {
    enableThinking: thinking === "auto" ? messages.some(hasThoughts) : thinking === "on",
    ...(tools === undefined ? {} : { tools }),
    ...(documents === undefined ? {} : { documents }),
    variables: { ...templateOptions, ...own },
  };
  return (turns, addGenerationPrompt) => {
    try {
      return template.render(turns, { ...options, addGenerationPrompt });
    } catch (error) {
      throw new RowError(
        "refused by the chat template",
        `the chat template says: ${(error as Error).message}`,
      );
    }
  };
}

function turnsOf(
  row: ConversationRow,
): { messages: readonly ChatMessage[]; firstTrained: number; answers: readonly string[] } {
  if (row.kind === "messages") {
    const { messages, firstTrained = 0 } = row;
    const last = messages.findLast(isTrainedTurn);
    return { messages, firstTrained, answers: [contentText(last?.content)] };
  }
  const [user, answers] = row.kind === "prompt"
    ? [row.prompt, [row.completion]]
    : row.kind === "question"
    ? [row.question, row.answers]
    : [row.input === "" ? row.instruction : `${row.instruction}\n\n${row.input}`, [row.output]];
  const messages = [{ role: "user", content: user }, { role: "assistant", content: answers[0] as string }];
  return { messages, firstTrained: 0, answers };
}
