// SPDX-License-Identifier: Apache-2.0
/** Chat templates that a user names by file. */
import { nearestName } from "../core/suggestion.ts";
import { UserError } from "../core/errors.ts";
import { problemOf, saysNotFound } from "../files/errors.ts";
import { isFolderSync, readTextSync } from "../files/read.ts";
import { MOST_TEMPLATE_BYTES } from "./chat_template.ts";
import type { OwnTemplate } from "./format_options.ts";

/** Words that choose a template without a file. */
const WORDS = ["auto", "off"] as const;

/**
 * What `--chat-template` says: "auto", "off", or the file of a template, which is read.
 *
 * @throws {UserError} When there is no such file, or it cannot be a template
 */
export function readChatTemplate(choice: string): "auto" | "off" | OwnTemplate {
  if (choice === "auto" || choice === "off") return choice;
  let jinja: string;
  try {
    jinja = readTextSync(choice, { maxBytes: MOST_TEMPLATE_BYTES });
  } catch (error) {
    throw new UserError(`The chat template is "${choice}": ${whyUnread(choice, error)}`, { cause: error });
  }
  if (jinja.trim() === "") throw new UserError(`The chat template "${choice}" is an empty file`);
  if (isJson(jinja)) {
    throw new UserError(
      `The chat template "${choice}" is JSON: give a file that holds the template's text alone, as chat_template.jinja does`,
    );
  }
  return { jinja, name: choice };
}

function whyUnread(choice: string, error: unknown): string {
  if (saysNotFound(error)) {
    const hint = nearestName(choice, WORDS);
    const guess = hint === null ? "" : `; did you mean ${hint}?`;
    return `there is no such file, expected auto, off or the file of a Jinja template${guess}`;
  }
  const said = problemOf(error);
  if (isFolderSync(choice)) {
    return "that is a folder, expected auto, off or the file of a Jinja template";
  }
  return said;
}

/** A template may begin with a brace or be a quoted text in name only: what parses whole as JSON is a configuration. */
function isJson(text: string): boolean {
  if (!text.trimStart().startsWith("{")) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
