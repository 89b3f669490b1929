// SPDX-License-Identifier: Apache-2.0
/**
 * Which chat template of a model is used, as transformers 5.24 chooses: files win over `tokenizer_config.json`, all of
 * them over all of it; of several with names, "tool_use" writes rows with tools, "default" all others.
 */
import { UserError } from "../core/errors.ts";
import { isJsonObject } from "../core/json.ts";
import { type ChatTemplate, compileChatTemplate } from "./chat_template.ts";
import type { TokenizerFiles } from "./tokenizer_files.ts";

/**
 * The template of a model; null where it has none.
 *
 * @throws {UserError} When the files hold something else, only templates of other names, or one that cannot be read
 */
export function chooseTemplate(
  files: TokenizerFiles,
  specialNames: Readonly<Record<string, string | null>>,
  source: string,
): ChatTemplate | null {
  const templates = namedTemplates(files, source);
  if (templates.size === 0) return null;
  const compile = (text: string): ChatTemplate => compileChatTemplate(text, specialNames, source);
  const [text, forTools] = [templates.get("default"), templates.get("tool_use")];
  if (text === undefined) {
    const names = [...templates.keys()].map((name) => `"${name}"`).join(", ");
    throw new UserError(
      `"${source}" has chat templates named ${names}, but none named "default"; name one of them "default" or put it ` +
        `into chat_template.jinja`,
    );
  }
  const usual = compile(text);
  if (forTools === undefined) return usual;
  const withTools = compile(forTools);
  return {
    ...usual,
    render: (messages, options) =>
      (options.tools === undefined ? usual : withTools).render(messages, options),
  };
}

function namedTemplates(files: TokenizerFiles, source: string): ReadonlyMap<string, string> {
  const { chatTemplate, namedTemplates = {} } = files;
  const own = Object.entries(namedTemplates);
  if (chatTemplate !== undefined || own.length > 0) {
    return new Map([...(chatTemplate === undefined ? [] : [["default", chatTemplate] as const]), ...own]);
  }
  const value = files.config?.["chat_template"];
  if (value === undefined || value === null) return new Map();
  if (typeof value === "string") return new Map([["default", value]]);
  const entries: [unknown, unknown][] = Array.isArray(value)
    ? value.map((entry: unknown) =>
      isJsonObject(entry) ? [entry["name"], entry["template"]] : [undefined, entry]
    )
    : isJsonObject(value)
    ? Object.entries(value)
    : [[undefined, value]];
  return new Map(entries.map(([name, text]): [string, string] => {
    if (typeof name === "string" && typeof text === "string") return [name, text];
    throw new UserError(
      `chat_template in tokenizer_config.json of "${source}" is neither a text nor a list of {name, template}`,
    );
  }));
}
