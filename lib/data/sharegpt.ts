// SPDX-License-Identifier: Apache-2.0
/** ShareGPT's conversations, `[{from, value}]`, as turns. */
import { parsePythonJson } from "../jinja/json_loads.ts";
import { type ChatMessage, readMessages, wrongType } from "./chat_message.ts";
import { RowError } from "./row_error.ts";

/** Who speaks, by the names that such files use. */
const ROLES: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  assistant: "assistant",
  chatgpt: "assistant",
  bing: "assistant",
  bard: "assistant",
  model: "assistant",
  system: "system",
  developer: "developer",
  tool: "tool",
  observation: "tool",
  function_response: "tool",
};

/** The name for a turn whose value is a call, or a list of calls, as JSON. */
const CALL = "function_call";

/** Whether a turn of this role, or from this speaker, is an answer. */
export function isAnswering(from: string): boolean {
  return from === CALL || (Object.hasOwn(ROLES, from) && ROLES[from] === "assistant");
}

/**
 * @param value `conversations`: turns of `{from, value}`, or of `{role, content}`, which some files write there
 * @throws {RowError} Names the turn and the field
 */
export function shareGptMessages(value: unknown): readonly ChatMessage[] {
  const name = "conversations";
  if (!Array.isArray(value)) throw wrongType(name, value, "a list of {from, value}");
  const turns = value.map((entry: unknown, i) => asMessage(entry, `${name}[${i}]`));
  return readMessages(turns, name);
}

function asMessage(entry: unknown, name: string): unknown {
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    throw wrongType(name, entry, "an object {from, value}");
  }
  const { from, value, ...others } = entry as Readonly<Record<string, unknown>>;
  if (from === undefined && value === undefined && "role" in others) return entry;
  if (typeof from !== "string") throw wrongType(`${name}.from`, from, "a string");
  if (typeof value !== "string") throw wrongType(`${name}.value`, value, "a string");
  if (from === CALL) return { role: "assistant", content: "", tool_calls: readCalls(value, name), ...others };
  const role = Object.hasOwn(ROLES, from) ? ROLES[from] : undefined;
  if (role === undefined) {
    throw new RowError(
      "wrong type",
      `"${name}.from" is "${from}", expected one of ${[...Object.keys(ROLES), CALL].join(", ")}`,
    );
  }
  return { role, content: value, ...others };
}

/** `{name, arguments}` as text, one or a list of them, as `tool_calls`. */
function readCalls(text: string, name: string): unknown[] {
  let parsed: unknown;
  try {
    parsed = parsePythonJson(text);
  } catch (error) {
    throw new RowError("wrong type", `"${name}.value" of a ${CALL} is not JSON: ${(error as Error).message}`);
  }
  return [parsed].flat().map((call: unknown) => {
    const named = typeof call === "object" && call !== null &&
      typeof (call as { name?: unknown }).name === "string";
    if (!named) throw wrongType(`${name}.value`, call, `JSON of {"name", "arguments"}`);
    return { type: "function", function: call };
  });
}
