// SPDX-License-Identifier: Apache-2.0
/** Prompts that nobody has answered yet: a user's words, or a file of them. */
import { UserError } from "../core/errors.ts";
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { parseJsonText } from "../core/json_text.ts";
import type { ReadReport } from "../data/dataset.ts";
import { buildPrompt, settleTemplate, TEXT_PROMPTS } from "../data/examples.ts";
import type { FormatOptions } from "../data/format_options.ts";
import { fileProblem, readLines } from "../data/lines.ts";
import { type BadRowPolicy, checkRowsRead } from "../data/bad_rows.ts";
import type { Placed } from "../data/load_data.ts";
import type { PromptReader } from "../data/prompt_reader.ts";
import { RowError } from "../data/row_error.ts";
import { type BadRow, catchBadRow, parseRow } from "../data/rows.ts";
import { isAnswering } from "../data/sharegpt.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { checkRoom } from "./room.ts";

/** How questions are read. */
export interface QuestionOptions extends FormatOptions {
  /** Tokens that the model has room for, question and answer together, or each where they are read apart. */
  readonly room: number;
  readonly badRows?: BadRowPolicy;
  /** How questions become prompts; see `promptsOf` of a task. Default: those that a model goes on from. */
  readonly reader?: PromptReader;
}

/**
 * Token ids that ask a user's question.
 *
 * @throws {UserError} When the chat template refuses it, or it leaves no room for an answer
 */
export async function askText(
  text: string,
  tokenizer: Tokenizer,
  options: QuestionOptions,
): Promise<number[]> {
  try {
    const { reader = TEXT_QUESTIONS, room } = options;
    return [...checkRoom(await reader.fromText(text, tokenizer, options), room, reader.answersApart)];
  } catch (error) {
    if (!(error instanceof RowError)) throw error;
    throw new UserError(`The prompt cannot be used: ${error.message}`, { cause: error });
  }
}

/**
 * Reads a file of prompts. A file named `.jsonl`, or whose first line is a JSON object, has rows of the shapes of training
 * data, of which only the question is needed: `{prompt}`, `{question}`, `{instruction, input?}`, `{messages}` or
 * `{conversations}` up to the turn that is to be answered (one that is answered is asked again), `{text}` to go on with as it
 * is. Any other file has a prompt a line, as it is typed. Blank lines are passed over.
 *
 * @throws {BadRowsError} With policy "stop", when there are rows that cannot be asked
 * @throws {UserError} When the file cannot be read, or holds nothing
 */
export async function loadQuestions(
  path: string,
  tokenizer: Tokenizer,
  options: QuestionOptions,
): Promise<{ items: Placed<readonly number[]>[]; report: ReadReport }> {
  await checkFile(path);
  const settled = settleTemplate(tokenizer, options);
  const items: Placed<readonly number[]>[] = [];
  const badRows: BadRow[] = [];
  let rowsRead = 0;
  const { reader = TEXT_QUESTIONS, room } = options;
  let asRows = path.endsWith(".jsonl") ? true : null;
  for await (const { number: line, text } of readLines(path)) {
    rowsRead++;
    asRows ??= isObject(text);
    const ask = asRows ? reader.fromQuestion : lineReader(reader);
    const made = await catchBadRow({ file: path, line }, async (place) => {
      const value = await ask(text, settled.tokenizer, settled.options);
      return { ok: true as const, item: { value: checkRoom(value, room, reader.answersApart), place } };
    });
    if (made.ok) items.push(made.item);
    else badRows.push(made.bad);
  }
  const report = { rowsRead, rowsUsed: items.length, badRows };
  checkRowsRead([path], options.badRows ?? "stop", report, "prompts");
  return { items, report };
}

/** A line as words that are typed. */
function lineReader({ fromText }: PromptReader): PromptReader["fromQuestion"] {
  return (text, tokenizer, format) => {
    if (text === null) throw new RowError("not JSON", "the line is not valid UTF-8");
    return fromText(text.replace(/\r$/, ""), tokenizer, format);
  };
}

const askRow: PromptReader["fromQuestion"] = async (text, tokenizer, format) => {
  const row = parseRow(text === null ? null : withAnswer(text));
  if (row.kind !== "text") return (await buildPrompt(row, tokenizer, format)).ids;
  const { system } = format;
  return await TEXT_PROMPTS.fromText(row.text, tokenizer, { chatTemplate: "off", ...(system && { system }) });
};

/** {@linkcode TEXT_PROMPTS}, which need no answers. */
const TEXT_QUESTIONS: PromptReader = { ...TEXT_PROMPTS, fromQuestion: askRow };

/** Stands for an answer that nobody reads. */
const ANSWER = "a";

/** The row with an answer, where it has none: rows of data have one. */
function withAnswer(text: string): string {
  const fields = parseObject(text, parseJsonText);
  if (fields === null) return text; // for the reader of rows to refuse
  const filled = filledFields(fields);
  return filled === fields ? text : JSON.stringify(filled);
}

function filledFields(fields: JsonObject): JsonObject {
  for (const name of ["messages", "conversations"]) {
    const turns = fields[name];
    if (Array.isArray(turns)) return { ...fields, [name]: answered(turns) };
  }
  const { prompt, completion, instruction, output, question, answer } = fields;
  if (prompt !== undefined && completion === undefined) {
    return {
      ...fields,
      completion: Array.isArray(prompt) ? [{ role: "assistant", content: ANSWER }] : ANSWER,
    };
  }
  if (instruction !== undefined && output === undefined) return { ...fields, output: ANSWER };
  return question !== undefined && answer === undefined ? { ...fields, answer: ANSWER } : fields;
}

/** The turns with an answer to the last one, unless that is an answer itself. */
function answered(turns: readonly unknown[]): JsonObject["messages"] {
  const last = turns.at(-1);
  const role = isJsonObject(last) ? last["role"] ?? last["from"] : undefined;
  const all = turns as JsonObject[];
  if (!isJsonObject(last) || role === undefined) return all; // for the reader of rows to refuse
  if (isAnswering(String(role))) {
    const { weight: _, ...asked } = last;
    return [...all.slice(0, -1), asked];
  }
  return [...all, "from" in last ? { from: "gpt", value: ANSWER } : { role: "assistant", content: ANSWER }];
}

function isObject(text: string | null): boolean {
  return text !== null && parseObject(text, JSON.parse) !== null;
}

function parseObject(text: string, parse: (text: string) => unknown): JsonObject | null {
  try {
    const value = parse(text);
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
}

async function checkFile(path: string): Promise<void> {
  const problem = await fileProblem(path);
  if (problem !== null) throw new UserError(`The file of prompts "${path}" ${problem}`);
}
