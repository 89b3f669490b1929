// SPDX-License-Identifier: Apache-2.0
/** Rows of JSONL files: read as a stream, and validated one by one. */
import { UserError } from "../core/errors.ts";
import type { ChatMessage } from "./chat_template.ts";
import { readLines } from "./lines.ts";

/** A row of data, by its shape in the file. */
export type Row =
  | { readonly kind: "prompt"; readonly prompt: string; readonly completion: string }
  | { readonly kind: "messages"; readonly messages: readonly ChatMessage[] }
  | {
    readonly kind: "instruction";
    readonly instruction: string;
    readonly input: string;
    readonly output: string;
  }
  /** The first answer is the target of training; all count when scored. */
  | { readonly kind: "question"; readonly question: string; readonly answers: readonly string[] }
  | { readonly kind: "text"; readonly text: string };

/** Where a row stands. */
export interface RowPlace {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** What is wrong with a row, for counting. */
export type BadRowCategory =
  | "not JSON"
  | "not an object"
  | "unknown shape"
  | "wrong type"
  | "empty"
  | "no assistant turn"
  | "refused by the chat template"
  | "over-long"
  | "no number";

/** A row that cannot be used. */
export interface BadRow extends RowPlace {
  readonly category: BadRowCategory;
  /** One sentence without file and line. */
  readonly reason: string;
}

/** Thrown while a row is looked at; {@linkcode BadRow} is what is made of it. */
export class RowError extends Error {
  override readonly name = "RowError";
  readonly category: BadRowCategory;

  constructor(category: BadRowCategory, reason: string) {
    super(reason);
    this.category = category;
  }
}

/** A row with its place, or why there is none. */
export type RowResult =
  | { readonly ok: true; readonly row: Row; readonly place: RowPlace }
  | { readonly ok: false; readonly bad: BadRow };

/** The accepted shapes, as messages name them. */
const SHAPES =
  "{prompt, completion}, {messages}, {instruction, input?, output}, {question, answer} or {text}";

type Fields = Readonly<Record<string, unknown>>;

/**
 * Streams the rows of several files in the order given. Blank lines are passed over.
 *
 * @throws {UserError} Before any row, when a path is missing or not a file; the message names all of them
 */
export async function* readRows(paths: readonly string[]): AsyncGenerator<RowResult> {
  await checkFiles(paths);
  for (const file of paths) {
    for await (const { number, text } of readLines(file)) {
      yield await catchBadRow<RowResult>(
        { file, line: number },
        (place) => ({ ok: true, row: parseRow(text), place }),
      );
    }
  }
}

/** Runs one look at a row; a {@linkcode RowError} becomes a bad row at that place. */
export async function catchBadRow<T>(
  place: RowPlace,
  look: (place: RowPlace) => T | Promise<T>,
): Promise<T | { readonly ok: false; readonly bad: BadRow }> {
  try {
    return await look(place);
  } catch (error) {
    if (!(error instanceof RowError)) throw error;
    return { ok: false, bad: { ...place, category: error.category, reason: error.message } };
  }
}

/** `train.jsonl:12`. */
export function formatPlace(place: RowPlace): string {
  return `${place.file}:${place.line}`;
}

/**
 * Validates one line.
 *
 * @param text The line; null stands for bytes that are not UTF-8
 * @throws {RowError} When it is no row
 */
export function parseRow(text: string | null): Row {
  if (text === null) throw new RowError("not JSON", "the line is not valid UTF-8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new RowError("not JSON", `the line is not JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new RowError(
      "not an object",
      `the line is ${describe(value)}, expected an object such as ${SHAPES}`,
    );
  }
  return shapeRow(value as Fields);
}

/**
 * Decides on the shape by the fields present; other fields are ignored. `text` comes last, because published
 * instruction sets carry the finished text beside its parts.
 */
function shapeRow(fields: Fields): Row {
  if ("messages" in fields) return { kind: "messages", messages: messagesOf(fields["messages"]) };
  if ("prompt" in fields && "completion" in fields) {
    return { kind: "prompt", prompt: filled(fields, "prompt"), completion: filled(fields, "completion") };
  }
  if ("instruction" in fields && "output" in fields) {
    const input = fields["input"] ?? "";
    if (typeof input !== "string") throw wrongType("input", input, "a string");
    const instruction = filled(fields, "instruction");
    return { kind: "instruction", instruction, input, output: filled(fields, "output") };
  }
  if ("question" in fields && "answer" in fields) {
    return { kind: "question", question: filled(fields, "question"), answers: answersOf(fields) };
  }
  if ("text" in fields) return { kind: "text", text: filled(fields, "text") };
  const keys = Object.keys(fields).map((key) => `"${key}"`).join(", ");
  const has = keys === "" ? "no fields" : `only ${keys}`;
  throw new RowError("unknown shape", `the row has ${has}, expected ${SHAPES}`);
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

function messagesOf(value: unknown): readonly ChatMessage[] {
  if (!Array.isArray(value)) throw wrongType("messages", value, "a list of {role, content}");
  if (value.length === 0) throw new RowError("empty", `"messages" is an empty list`);
  const messages = value.map((entry: unknown, i): ChatMessage => {
    const name = `messages[${i}]`;
    if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
      throw wrongType(name, entry, "an object {role, content}");
    }
    const { role, content } = entry as Fields;
    if (typeof role !== "string") throw wrongType(`${name}.role`, role, "a string");
    if (typeof content !== "string") throw wrongType(`${name}.content`, content, "a string");
    if (role === "assistant" && content.trim() === "") {
      throw new RowError("empty", `"${name}.content" of an assistant turn is empty`);
    }
    return { role, content };
  });
  if (!messages.some(({ role }) => role === "assistant")) {
    const roles = messages.map(({ role }) => `"${role}"`).join(", ");
    throw new RowError(
      "no assistant turn",
      `"messages" has no assistant turn to learn from (roles: ${roles})`,
    );
  }
  return messages;
}

function wrongType(name: string, value: unknown, expected: string): RowError {
  return new RowError("wrong type", `"${name}" is ${describe(value)}, expected ${expected}`);
}

function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

async function checkFiles(paths: readonly string[]): Promise<void> {
  const problems: string[] = [];
  if (paths.length === 0) problems.push("no data file was given");
  for (const path of paths) {
    const stat = await Deno.stat(path).catch((error: Error) => error);
    if (stat instanceof Deno.errors.NotFound) problems.push(`"${path}" does not exist`);
    else if (stat instanceof Error) problems.push(`"${path}" cannot be read: ${stat.message}`);
    else if (stat.isDirectory) problems.push(`"${path}" is a folder; name its .jsonl files`);
  }
  if (problems.length > 0) throw new UserError(`Cannot read the data: ${problems.join("; ")}`);
}
