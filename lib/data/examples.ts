// SPDX-License-Identifier: Apache-2.0
/** From a row to token ids with a mask of those that are targets. */
import { UserError } from "../core/errors.ts";
import { type ChatTemplate, compileChatTemplate } from "./chat_template.ts";
import { type EncodedText, encodeTexts } from "./encode_texts.ts";
import type { FormatOptions } from "./format_options.ts";
import { formatPrompt, formatRow } from "./formats.ts";
import type { Prompt, PromptReader } from "./prompt_reader.ts";
import { RowError } from "./row_error.ts";
import type { Row } from "./row_shapes.ts";
import { parseRow } from "./rows.ts";
import type { RowWarning } from "./row_warnings.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** How rows become training examples. */
export interface ExampleOptions extends FormatOptions {
  /** Longest example in tokens; the rest is cut off at the end. */
  readonly seqLen: number;
  /** Which tokens are targets; the first token of an example never is. Default "completion". */
  readonly lossOn?: "completion" | "all";
}

/** One training example of n tokens. */
export interface Example {
  /** (n). */
  readonly ids: Int32Array;
  /** (n): 1 where the token is a target. Element 0 is always 0, unless there is a source. */
  readonly lossMask: Uint8Array;
  /** Tokens that an encoder reads, where these are what its decoder is to write: then all are targets. */
  readonly source?: Int32Array;
  /** Tokens cut off at the end to keep to seqLen. */
  readonly cutTokens: number;
}

/** What a row gives. */
export interface RowExamples {
  /** One, or several where the chat template writes earlier turns otherwise once later ones follow. */
  readonly examples: readonly Example[];
  readonly warnings: readonly RowWarning[];
}

/**
 * A row as training examples. Tokens after the last target are left out: nothing would learn from them.
 *
 * @throws {RowError} When the chat template refuses the row, or cutting to seqLen leaves no target
 * @throws {UserError} When a plain form needs an end-of-sequence token that the tokenizer has not
 */
export async function buildExamples(
  row: Row,
  tokenizer: Tokenizer,
  options: ExampleOptions,
): Promise<RowExamples> {
  const { texts, warnings } = formatRow(row, chosenTemplate(tokenizer, options), options);
  const encoded = await encodeTexts(texts, tokenizer);
  const cut = encoded.map((text) => cutExample(text, options));
  const examples = cut.filter((example): example is Example => !(example instanceof RowError));
  if (examples.length === 0) throw cut[0] as RowError;
  const lost = cut.length - examples.length;
  return {
    examples,
    warnings: [
      ...warnings,
      ...encoded.flatMap((text) => text.warnings),
      ...(lost > 0 ? [{ kind: "cut turns", count: lost } as const] : []),
    ],
  };
}

/** The example of a text, or why there is none. */
function cutExample({ ids, lossMask: mask }: EncodedText, options: ExampleOptions): Example | RowError {
  const lossMask = options.lossOn === "all" ? mask.map(() => 1) : mask.slice();
  lossMask[0] = 0;
  const length = lossMask.lastIndexOf(1) + 1;
  const first = lossMask.indexOf(1);
  if (first < 0) return new RowError("empty", "the row has no token to predict");
  const kept = Math.min(length, options.seqLen);
  if (first >= kept) {
    return new RowError(
      "over-long",
      `the prompt takes ${first} of ${length} tokens, so cutting at the sequence length of ${options.seqLen} would ` +
        `leave nothing to learn`,
    );
  }
  return { ids: ids.slice(0, kept), lossMask: lossMask.slice(0, kept), cutTokens: length - kept };
}

/**
 * What generation starts from, to give a row's (last) completion: with a chat template its generation prompt, else the
 * tokens that training has before that completion.
 *
 * @throws {RowError} When the row is a `{text}` row or the chat template refuses it
 */
export async function buildPrompt(
  row: Row,
  tokenizer: Tokenizer,
  options: FormatOptions = {},
): Promise<Prompt> {
  const { text, answers } = formatPrompt(row, chosenTemplate(tokenizer, options), options);
  const [encoded] = await encodeTexts([text], tokenizer);
  return { ids: [...(encoded as EncodedText).ids], answers };
}

/** Prompts that a model goes on from: the rows and the words of conversations and completions. */
export const TEXT_PROMPTS: PromptReader = {
  answersApart: false,
  fromText: promptFromText,
  fromRow: (text, tokenizer, options) => buildPrompt(parseRow(text), tokenizer, options),
  fromQuestion: async (text, tokenizer, options) =>
    (await buildPrompt(parseRow(text), tokenizer, options)).ids,
};

/** A user's words as the start of generation, in the form of a `{prompt, completion}` row. */
export async function promptFromText(
  text: string,
  tokenizer: Tokenizer,
  options: FormatOptions = {},
): Promise<number[]> {
  return [...(await buildPrompt({ kind: "prompt", prompt: text, completion: "a" }, tokenizer, options)).ids];
}

/**
 * Ids that end an answer: the model's own, the tokenizer's, and the token that the chat template puts after an
 * assistant turn (base models often name another end of sequence).
 */
export async function stopIds(
  tokenizer: Tokenizer,
  modelEosIds: readonly number[],
  options: FormatOptions = {},
): Promise<Set<number>> {
  const ids = new Set(modelEosIds);
  if (tokenizer.eosId !== null) ids.add(tokenizer.eosId);
  const last = await turnEnd(tokenizer, options);
  if (last !== null && tokenizer.specialIds.has(last)) ids.add(last);
  return ids;
}

/** The last token of an assistant turn in the chat template; null without one, or when it refuses so short a talk. */
async function turnEnd(tokenizer: Tokenizer, options: FormatOptions): Promise<number | null> {
  if (chosenTemplate(tokenizer, options) === null) return null;
  const row: Row = { kind: "prompt", prompt: "a", completion: "a" };
  try {
    const { examples } = await buildExamples(row, tokenizer, { ...options, seqLen: Number.MAX_SAFE_INTEGER });
    return examples[0]?.ids.at(-1) ?? null;
  } catch (error) {
    if (error instanceof RowError) return null;
    throw error;
  }
}

/**
 * The chat template that the options choose; null for the plain forms.
 *
 * @throws {UserError} When it is the model's, and that cannot be used; when there is none that options could be for
 */
export function chosenTemplate(tokenizer: Tokenizer, options: FormatOptions): ChatTemplate | null {
  const { chatTemplate = "auto", thinking = "auto", templateOptions = {} } = options;
  if (typeof chatTemplate === "object") {
    return compileChatTemplate(chatTemplate.jinja, tokenizer.specialNames, chatTemplate.name);
  }
  if (chatTemplate === "auto" && tokenizer.chatTemplateProblem !== undefined) {
    throw tokenizer.chatTemplateProblem;
  }
  const template = chatTemplate === "off" ? null : tokenizer.chatTemplate;
  const names = [...(thinking === "auto" ? [] : ["thinking"]), ...Object.keys(templateOptions)];
  if (template === null && names.length > 0) {
    throw new UserError(
      `${names.map((name) => `"${name}"`).join(", ")} can only be told to a chat template, and ` +
        (chatTemplate === "off" ? "that is off" : `"${tokenizer.source}" has none`) +
        `; leave it out, or give a template with --chat-template FILE`,
    );
  }
  return template;
}

/** Tokenizer and options with the chosen template compiled once, for many rows. */
export function settleTemplate<Options extends FormatOptions>(
  tokenizer: Tokenizer,
  options: Options,
): { readonly tokenizer: Tokenizer; readonly options: Options } {
  const chatTemplate = chosenTemplate(tokenizer, options);
  const { chatTemplateProblem: _, ...rest } = tokenizer;
  return {
    tokenizer: { ...rest, chatTemplate },
    options: { ...options, chatTemplate: chatTemplate === null ? "off" : "auto" },
  };
}
