// SPDX-License-Identifier: Apache-2.0
/** Turns of a conversation as rows of data carry them, read and checked. */
import { quotedValue } from "../core/quoted.ts";
import { Float } from "../jinja/values.ts";
import { RowError } from "./row_error.ts";

/** A piece of a turn's content. Only text can be trained on. */
export interface TextPart {
  readonly type: "text";
  readonly text: string;
}

/**
 * One turn of a conversation. All fields reach the chat template as they are, in the order of the row: `tool_calls`,
 * `tool_call_id`, `reasoning_content`, `name`, and whatever else it may know.
 */
export interface ChatMessage {
  readonly role: string;
  readonly content?: string | null | readonly TextPart[];
  readonly [field: string]: unknown;
}

/** Names that thoughts beside the content go by, in the order in which transformers looks for them. */
const THOUGHT_FIELDS = ["reasoning_content", "thinking", "reasoning"] as const;

/** The text of a content: parts joined; "" for none. */
export function contentText(content: ChatMessage["content"]): string {
  if (typeof content === "string") return content;
  return (content ?? []).map(({ text }) => text).join("");
}

/** The same kind of content with another text. */
export function withText(message: ChatMessage, text: string): ChatMessage {
  const { content } = message;
  return { ...message, content: Array.isArray(content) ? [{ type: "text", text }] : text };
}

/** Thoughts that a turn carries in a field of their own; "" when it has none. */
export function thoughtText(message: ChatMessage): string {
  const thought = thoughtOf(message);
  return typeof thought === "string" ? thought : "";
}

/**
 * The turn as templates see it: thoughts go by the names that templates read, `reasoning_content` and `thinking`, whatever
 * they are called in the row (transformers 5.24, `_alias_reasoning_fields`).
 */
export function withThoughtNames(message: ChatMessage): ChatMessage {
  const thought = thoughtOf(message);
  return thought === undefined ? message : { thinking: thought, ...message, reasoning_content: thought };
}

/** What a turn has in the first field for thoughts that is filled; undefined where none is. */
function thoughtOf(message: ChatMessage): unknown {
  return THOUGHT_FIELDS.map((field) => message[field]).find((value) => value !== null && value !== undefined);
}

/** Whether a field's name is one of those for thoughts. */
export function isThoughtField(name: string): boolean {
  return (THOUGHT_FIELDS as readonly string[]).includes(name);
}

/** Whether a turn holds thoughts, in its content or beside it. */
export function hasThoughts(message: ChatMessage): boolean {
  return message.role === "assistant" &&
    (thoughtText(message).trim() !== "" || contentText(message.content).includes("</think>"));
}

/** Whether a turn calls tools. */
function callsTools(message: ChatMessage): boolean {
  const calls = message["tool_calls"];
  return Array.isArray(calls) && calls.length > 0;
}

/** Whether the loss is taken on an assistant turn: `weight` 0 takes it out, as in OpenAI's fine-tuning format. */
export function isTrainedTurn(message: ChatMessage): boolean {
  return message.role === "assistant" && Number(message["weight"] ?? 1) !== 0;
}

/**
 * Checks a list of turns.
 *
 * @param name Of the list in messages: `messages`
 * @throws {RowError} Names the turn and the field
 */
export function readMessages(value: unknown, name: string): readonly ChatMessage[] {
  if (!Array.isArray(value)) throw wrongType(name, value, "a list of {role, content}");
  if (value.length === 0) throw new RowError("empty", `"${name}" is an empty list`);
  return value.map((entry: unknown, i) => readMessage(entry, `${name}[${i}]`));
}

/** @throws {RowError} When no turn of an assistant has loss */
export function checkTrained(messages: readonly ChatMessage[], name: string): void {
  if (messages.some(isTrainedTurn)) return;
  const roles = messages.map(({ role }) => `"${role}"`).join(", ");
  throw new RowError(
    "no assistant turn",
    messages.some(({ role }) => role === "assistant")
      ? `"${name}" has assistant turns of weight 0 only, so there is nothing to learn`
      : `"${name}" has no assistant turn to learn from (roles: ${roles})`,
  );
}

function readMessage(entry: unknown, name: string): ChatMessage {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    throw wrongType(name, entry, "an object {role, content}");
  }
  const fields = (entry instanceof Map ? Object.fromEntries(entry) : entry) as Readonly<
    Record<string, unknown>
  >;
  const { role } = fields;
  const weight = fields["weight"] instanceof Float ? fields["weight"].value : fields["weight"];
  if (typeof role !== "string") throw wrongType(`${name}.role`, role, "a string");
  checkContent(fields, name);
  checkToolCalls(fields["tool_calls"], `${name}.tool_calls`);
  if (fields["function_call"] !== undefined && fields["function_call"] !== null) {
    throw new RowError(
      "unsupported field",
      `"${name}.function_call" is the older way to call a function; write it as "tool_calls"`,
    );
  }
  if (weight !== undefined && weight !== null && Number(weight) !== 0 && Number(weight) !== 1) {
    throw new RowError("wrong type", `"${name}.weight" is ${quotedValue(weight)}, expected 0 or 1`);
  }
  const message = (weight === fields["weight"] ? fields : { ...fields, weight }) as ChatMessage;
  const says = contentText(message.content) + thoughtText(message);
  if (role === "assistant" && says.trim() === "" && !callsTools(message)) {
    throw new RowError("empty", `"${name}.content" of an assistant turn is empty`);
  }
  return message;
}

/** Content may be absent only where something else speaks. */
function checkContent(fields: Readonly<Record<string, unknown>>, name: string): void {
  const { content } = fields;
  if (typeof content === "string") return;
  const speaks = callsTools(fields as ChatMessage) || thoughtText(fields as ChatMessage) !== "";
  if ((content === null || content === undefined) && speaks) return;
  if (!Array.isArray(content)) {
    throw wrongType(`${name}.content`, content, "a string or a list of {type, text}");
  }
  content.forEach((part: unknown, i) => checkPart(part, `${name}.content[${i}]`));
}

function checkPart(part: unknown, name: string): void {
  if (typeof part !== "object" || part === null || Array.isArray(part)) {
    throw wrongType(name, part, `an object {type: "text", text}`);
  }
  const { type, text } = part as Readonly<Record<string, unknown>>;
  if (type !== "text") {
    throw new RowError(
      "unsupported field",
      `"${name}.type" is ${
        type === undefined ? "missing" : quotedValue(type)
      }: only "text" parts can be trained on`,
    );
  }
  if (typeof text !== "string") throw wrongType(`${name}.text`, text, "a string");
}

function checkToolCalls(calls: unknown, name: string): void {
  if (calls === undefined || calls === null) return;
  if (!Array.isArray(calls)) throw wrongType(name, calls, "a list of calls");
  calls.forEach((call: unknown, i) => {
    if (typeof call === "object" && call !== null && !Array.isArray(call)) return;
    throw wrongType(`${name}[${i}]`, call, "an object such as {type, function: {name, arguments}}");
  });
}

/** A field of the wrong kind. */
export function wrongType(name: string, value: unknown, expected: string): RowError {
  return new RowError("wrong type", `"${name}" is ${describe(value)}, expected ${expected}`);
}

/** What kind of JSON value it is, in words. */
export function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
