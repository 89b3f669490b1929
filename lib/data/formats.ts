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
import type { ChatTemplate } from "./chat_template.ts";
import { type ChatText, type Render, renderTurns } from "./chat_turns.ts";
import { asConversation, conversationRender, withSystem } from "./conversation.ts";
import type { FormatOptions } from "./format_options.ts";
import { plainSegments, type Segment } from "./plain_formats.ts";
import { RowError } from "./row_error.ts";
import type { Row } from "./row_shapes.ts";
import { type RowWarning, templateWarnings } from "./row_warnings.ts";

/** A text to be trained on, or to start generation from. */
export type FormattedText =
  /** What a chat template wrote, special tokens by name. */
  | { readonly kind: "template"; readonly chat: ChatText }
  /** Stretches one after the other; the beginning-of-sequence token goes before them. */
  | { readonly kind: "plain"; readonly segments: readonly Segment[] };

/** A row as text to be trained on. */
export interface FormattedRow {
  /** Several where a template writes earlier turns otherwise once later ones follow. */
  readonly texts: readonly FormattedText[];
  readonly warnings: readonly RowWarning[];
}

/** A row as a question with its answers. */
export interface FormattedPrompt {
  readonly text: FormattedText;
  /** Accepted completions, the first is the one trained on. */
  readonly answers: readonly string[];
}

/**
 * A row as text to be trained on.
 *
 * @param template Null for the plain forms
 * @throws {RowError} When the chat template refuses the row, or hides what the assistant says
 */
export function formatRow(row: Row, template: ChatTemplate | null, options: FormatOptions): FormattedRow {
  if (row.kind === "text") return plainRow(row);
  const full = withSystem(row, options);
  if (template === null) return plainRow(full);
  const { messages, trained } = asConversation(full);
  const render = conversationRender(template, full, messages, options);
  refuseTemplatedPrompt(full, render);
  const turns = renderTurns(render, messages, trained);
  return {
    texts: turns.texts.map((chat) => ({ kind: "template", chat })),
    warnings: templateWarnings(template, full, messages, turns, options),
  };
}

/**
 * What generation starts from, to give the (last) completion of a row: with a chat template exactly its generation prompt
 * after the turns before.
 *
 * @throws {RowError} For `{text}`, and as {@linkcode formatRow}
 */
export function formatPrompt(
  row: Row,
  template: ChatTemplate | null,
  options: FormatOptions,
): FormattedPrompt {
  if (row.kind === "text") {
    throw new RowError("unknown shape", "a {text} row has no prompt and no answer to score");
  }
  const full = withSystem(row, options);
  const { messages, trained, answers } = asConversation(full);
  if (template === null) {
    return { text: { kind: "plain", segments: plainSegments(full).slice(0, -1) }, answers };
  }
  const render = conversationRender(template, full, messages, options);
  refuseTemplatedPrompt(full, render);
  const text = render(messages.slice(0, trained.at(-1)), true);
  return { text: { kind: "template", chat: { text, targets: [] } }, answers };
}

/** A prompt that ends as the template's generation prompt does has been through the template already. */
function refuseTemplatedPrompt(row: Row, render: Render): void {
  if (row.kind !== "prompt") return;
  const opening = render([{ role: "user", content: ASKED }], true).split(ASKED).at(-1) as string;
  if (opening.trim() === "" || !row.prompt.trimEnd().endsWith(opening.trimEnd())) return;
  throw new RowError(
    "refused by the chat template",
    `"prompt" already ends in the chat template's ${
      JSON.stringify(opening)
    }, which would stand there twice; give the ` +
      `bare question, or take the text as it is with --chat-template off`,
  );
}

/** A question that stands in no template. */
const ASKED = "\u{e000}\u{e001}";

function plainRow(row: Row): FormattedRow {
  return { texts: [{ kind: "plain", segments: plainSegments(row) }], warnings: [] };
}
