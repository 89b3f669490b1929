// SPDX-License-Identifier: Apache-2.0
/** The shapes that a row of data may have, decided by the fields present. */
import { parsePythonJson } from "../jinja/json_loads.ts";
import { type ChatMessage, checkTrained, describe, readMessages, wrongType } from "./chat_message.ts";
import { RowError } from "./row_error.ts";
import { fieldNames, type Fields } from "./row_fields.ts";
import { shareGptMessages } from "./sharegpt.ts";

/** What a chat template sees beside the turns. Fields that a row leaves out are absent. */
export interface RowContext {
  /** Put before the turns as a system turn. */
  readonly system?: string;
  /** Descriptions of functions, as JSON schemas. */
  readonly tools?: readonly unknown[];
  /** Texts for templates that retrieve. */
  readonly documents?: readonly unknown[];
  /** Further variables, by name: the row's own come before those of the whole data set. */
  readonly templateOptions?: Readonly<Record<string, unknown>>;
}

/** A row of data, by its shape in the file. */
export type Row =
  & (
    | { readonly kind: "prompt"; readonly prompt: string; readonly completion: string }
    | {
      readonly kind: "messages";
      readonly messages: readonly ChatMessage[];
      /** The loss is taken on assistant turns from this one on; the first when absent. */
      readonly firstTrained?: number;
    }
    | {
      readonly kind: "instruction";
      readonly instruction: string;
      readonly input: string;
      readonly output: string;
    }
    /** The first answer is the target of training; all count when scored. */
    | { readonly kind: "question"; readonly question: string; readonly answers: readonly string[] }
    | { readonly kind: "text"; readonly text: string }
  )
  & { readonly context?: RowContext };

/** The accepted shapes, as messages name them. */
export const SHAPES =
  "{prompt, completion}, {messages}, {conversations}, {instruction, input?, output}, {question, answer} or {text}";

/** Fields that would change what is learnt, and cannot be honoured, each with the way out. */
const REFUSED: Readonly<Record<string, string>> = {
  chosen: "preference pairs are not trained on; keep the better answer as {prompt, completion} or {messages}",
  rejected:
    "preference pairs are not trained on; keep the better answer as {prompt, completion} or {messages}",
  functions: `the older list of functions is not read; write "tools": [{"type": "function", "function": …}]`,
  function_call: `the older way to call a function is not read; write "tool_calls" in the assistant's turn`,
  history: `earlier rounds are not read from "history"; write the whole as {messages}`,
  images: "only text can be trained on",
  image: "only text can be trained on",
  videos: "only text can be trained on",
  audio: "only text can be trained on",
  audios: "only text can be trained on",
};

/**
 * Decides on the shape; fields that no shape knows (ids, sources, topics) are passed over. `text` comes last, because
 * published instruction sets carry the finished text beside its parts.
 *
 * @throws {RowError} Names the field, its value and what is expected
 */
export function shapeRow(fields: Fields): Row {
  if (isTextOnly(fields)) return { kind: "text", text: filled(fields, "text") };
  refuseUnsupported(fields);
  const context = readContext(fields);
  const row = conversationRow(fields);
  return Object.keys(context).length === 0 ? row : withContext(row, context);
}

function isTextOnly(fields: Fields): boolean {
  return "text" in fields && !("messages" in fields) && !("conversations" in fields) &&
    !("prompt" in fields && "completion" in fields) && !("instruction" in fields && "output" in fields) &&
    !("question" in fields && "answer" in fields);
}

function conversationRow(fields: Fields): Row {
  if (filledIn(fields, "messages")) {
    return messagesRow(readMessages(fields["messages"], "messages"), "messages");
  }
  if (filledIn(fields, "conversations")) {
    return messagesRow(shareGptMessages(fields["conversations"]), "conversations");
  }
  if ("messages" in fields) throw wrongType("messages", fields["messages"], "a list of {role, content}");
  if ("prompt" in fields && "completion" in fields) return promptRow(fields);
  if ("instruction" in fields && "output" in fields) {
    const input = fields["input"] ?? "";
    if (typeof input !== "string") throw wrongType("input", input, "a string");
    const instruction = filled(fields, "instruction");
    return { kind: "instruction", instruction, input, output: filled(fields, "output") };
  }
  if ("question" in fields && "answer" in fields) {
    return { kind: "question", question: filled(fields, "question"), answers: answersOf(fields) };
  }
  const names = fieldNames(fields);
  const has = names === "" ? "no fields" : `only ${names}`;
  throw new RowError("unknown shape", `the row has ${has}, expected ${SHAPES}`);
}

function messagesRow(messages: readonly ChatMessage[], name: string): Row {
  checkTrained(messages, name);
  return { kind: "messages", messages };
}

/** `{prompt, completion}` as two texts, or as two lists of turns. */
function promptRow(fields: Fields): Row {
  const { prompt, completion } = fields;
  if (!Array.isArray(prompt) && !Array.isArray(completion)) {
    return { kind: "prompt", prompt: filled(fields, "prompt"), completion: filled(fields, "completion") };
  }
  const before = readMessages(prompt, "prompt");
  const after = readMessages(completion, "completion");
  checkTrained(after, "completion");
  return { kind: "messages", messages: [...before, ...after], firstTrained: before.length };
}

function refuseUnsupported(fields: Fields): void {
  for (const [name, remedy] of Object.entries(REFUSED)) {
    if (name in fields && !isNothing(fields[name])) {
      throw new RowError("unsupported field", `the row has "${name}": ${remedy}`);
    }
  }
  if ("completion" in fields && typeof fields["label"] === "boolean") {
    throw new RowError(
      "unsupported field",
      `the row has "label" beside "completion": answers marked good or bad are not trained on; keep the good ones as ` +
        `{prompt, completion}`,
    );
  }
}

function readContext(fields: Fields): RowContext {
  return Object.fromEntries(
    Object.entries({
      system: optional(fields, "system", (value) => typeof value === "string", "a string"),
      tools: optional({ tools: fromText(fields["tools"]) }, "tools", Array.isArray, "a list of functions"),
      documents: optional(fields, "documents", Array.isArray, "a list of {title, text}"),
      templateOptions: optional(
        fields,
        "chat_template_kwargs",
        (value) => typeof value === "object" && !Array.isArray(value),
        "an object",
      ),
    }).filter(([, value]) => value !== undefined),
  );
}

/** LLaMA-Factory writes the list of tools as text. */
function fromText(tools: unknown): unknown {
  if (typeof tools !== "string" || tools.trim() === "") return tools;
  try {
    return parsePythonJson(tools);
  } catch {
    return tools;
  }
}

function optional(
  fields: Fields,
  name: string,
  test: (value: unknown) => boolean,
  expected: string,
): unknown {
  const value = fields[name];
  if (isNothing(value)) return undefined;
  if (!test(value)) throw wrongType(name, value, expected);
  return value;
}

/** A system turn may stand in one place only. */
function withContext(row: Row, context: RowContext): Row {
  if (context.system !== undefined && row.kind === "messages" && row.messages[0]?.role === "system") {
    throw new RowError(
      "wrong type",
      `the row has "system" beside a system turn in its messages; keep one of them`,
    );
  }
  return { ...row, context };
}

function filledIn(fields: Fields, name: string): boolean {
  return fields[name] !== undefined && fields[name] !== null;
}

function isNothing(value: unknown): boolean {
  if (value === undefined || value === null || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function filled(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw wrongType(name, value, "a string");
  if (value.trim() === "") throw new RowError("empty", `"${name}" is empty`);
  return value;
}

function answersOf(fields: Fields): readonly string[] {
  const value = fields["answer"];
  if (!Array.isArray(value)) {
    if (typeof value !== "string") throw wrongType("answer", value, "a string or a list of strings");
    return [filled(fields, "answer")];
  }
  if (value.length === 0) throw new RowError("empty", `"answer" is an empty list`);
  return value.map((answer, i) => filled({ [`answer[${i}]`]: answer }, `answer[${i}]`));
}

/** What a parsed line that is no object is called. */
export function notAnObject(value: unknown, shapes: string = SHAPES): RowError {
  return new RowError(
    "not an object",
    `the line is ${describe(value)}, expected an object such as ${shapes}`,
  );
}
