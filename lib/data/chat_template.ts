// SPDX-License-Identifier: Apache-2.0
/** Chat templates: the Jinja text with which a model's makers turn messages into one string. */
import { UserError } from "../core/errors.ts";
import { toValue } from "../jinja/convert.ts";
import { JinjaError } from "../jinja/errors.ts";
import { compileTemplate, type JinjaTemplate } from "../jinja/template.ts";
import type { Value } from "../jinja/values.ts";
import { type ChatMessage, withThoughtNames } from "./chat_message.ts";

/** Of the file of a template: published ones have some ten thousand. */
export const MOST_TEMPLATE_BYTES = 1 << 20;

/** How a conversation is rendered. */
export interface RenderOptions {
  /** Ends with the opening of an assistant turn, for the model to go on from. */
  readonly addGenerationPrompt: boolean;
  /** What templates of reasoning models see as `enable_thinking`; false by default. */
  readonly enableThinking?: boolean;
  /** Functions that the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
  /** Texts for templates that retrieve. */
  readonly documents?: readonly unknown[];
  /** Further variables, by name; they win over all others but the messages. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** A compiled chat template. */
export interface ChatTemplate {
  readonly source: string;
  /**
   * The conversation as the model's makers write it, special tokens by name.
   *
   * @throws {Error} When the template refuses the messages, with its own words (for example: roles must alternate)
   */
  render(messages: readonly ChatMessage[], options: RenderOptions): string;
}

/**
 * The day that templates print, by the letters of `strftime`. Fixed, so that the same data gives the same tokens on every
 * day; it is the one that the Llama 3 templates themselves fall back to.
 */
const DATE: Readonly<Record<string, string>> = {
  a: "Fri",
  A: "Friday",
  b: "Jul",
  B: "July",
  d: "26",
  j: "208",
  m: "07",
  y: "24",
  Y: "2024",
  H: "00",
  I: "12",
  M: "00",
  S: "00",
  p: "AM",
};

/**
 * Compiles a template.
 *
 * @param specialTokens Names of the special tokens (`bos_token`, …), given to the template; null ones are left out
 * @throws {UserError} When it is not a template that can be parsed
 */
export function compileChatTemplate(
  source: string,
  specialTokens: Readonly<Record<string, string | null>>,
  owner: string,
): ChatTemplate {
  const template = parse(source, owner);
  const converted = new WeakMap<ChatMessage, Value>(); // a turn is rendered again with every turn after it
  const asValue = (message: ChatMessage): Value => {
    const known = converted.get(message) ?? toValue(withThoughtNames(message));
    converted.set(message, known);
    return known;
  };
  const tokens = Object.fromEntries(Object.entries(specialTokens).filter(([, name]) => name !== null));
  return {
    source,
    render: (messages, options) =>
      template.render({
        ...tokens,
        add_generation_prompt: options.addGenerationPrompt,
        enable_thinking: options.enableThinking ?? false,
        tools: options.tools ?? null,
        documents: options.documents ?? null,
        date_string: formatDate("%d %b %Y"),
        strftime_now: formatDate,
        ...options.variables,
        messages: messages.map(asValue),
      }),
  };
}

function formatDate(format: unknown): string {
  return String(format).replace(/%-?([a-zA-Z])/g, (directive, letter) => DATE[letter] ?? directive);
}

function parse(source: string, owner: string): JinjaTemplate {
  try {
    return compileTemplate(source);
  } catch (error) {
    if (!(error instanceof JinjaError)) throw error;
    const place = error.line === null ? "" : ` (line ${error.line})`;
    throw new UserError(`The chat template of "${owner}" cannot be read: ${error.message}${place}`, {
      cause: error,
    });
  }
}
