// SPDX-License-Identifier: Apache-2.0
/** What flags say of how rows and prompts become text: the same for every command, so that all ask as was trained. */
import { isJsonObject, type JsonObject } from "../../core/json.ts";
import type { FormatOptions } from "../../data/format_options.ts";
import { readChatTemplate } from "../../data/own_template.ts";
import { problemOf } from "../../files/errors.ts";
import { formatOptionsOf } from "../../train/settings.ts";
import { settingsOf } from "./settings.ts";
import type { FlagValues } from "./flags.ts";

/** Variables that templates get from elsewhere, each with the way to say them. */
const SAID_ELSEWHERE: Readonly<Record<string, string>> = {
  messages: "rows and prompts give the turns",
  add_generation_prompt: "it is set where an answer is to follow",
  enable_thinking: "use --thinking",
  tools: "rows give them in their field tools",
  documents: "rows give them in their field documents",
};

/** How text is written, as the flags say. @throws {UserError} When the template's file cannot be used */
export function formatOptions(values: FlagValues): FormatOptions {
  return formatOptionsOf(settingsOf(values));
}

/** What is wrong with the flags: one sentence each. Reads the template's file. */
export function formatProblems(values: FlagValues): string[] {
  const problems: string[] = [];
  try {
    if (values["chat-template"] !== undefined) readChatTemplate(values["chat-template"] as string);
  } catch (error) {
    problems.push(`--chat-template: ${problemOf(error)}`);
  }
  const options = values["template-option"];
  for (const name of isJsonObject(options as JsonObject) ? Object.keys(options as JsonObject) : []) {
    const elsewhere = SAID_ELSEWHERE[name];
    if (elsewhere !== undefined) problems.push(`--template-option ${name} cannot be set: ${elsewhere}`);
    else if (!/^[A-Za-z_]\w*$/.test(name)) {
      problems.push(`--template-option "${name}" is no name that a template could read`);
    }
  }
  return problems;
}
