// SPDX-License-Identifier: Apache-2.0
/** The demo's model as a chat model: with a chat template, in a folder of its own. */
import { DEMO_MODEL } from "./command.ts";

/**
 * A reasoning model's template: earlier thoughts are left out, and without thinking the prompt closes an empty one. `today`
 * is a variable of the caller's.
 */
export const THINKING_TEMPLATE = `{%- if today is defined -%}{{- 'Today is ' + today + '\\n' -}}{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' and not loop.last -%}{{- message.content.split('</think>')[-1].lstrip('\\n') -}}
{%- else -%}{{- message.content -}}{%- endif -%}
{{- eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}
{%- endif -%}`;

/** Makes the folder inside another one. */
export async function chatModel(folder: string, template = THINKING_TEMPLATE): Promise<string> {
  const model = `${folder}/model`;
  await Deno.mkdir(model);
  for (const { name } of Deno.readDirSync(DEMO_MODEL)) {
    await Deno.symlink(`${DEMO_MODEL}/${name}`, `${model}/${name}`);
  }
  await Deno.writeTextFile(`${model}/chat_template.jinja`, template);
  return model;
}

/** Writes rows as JSONL. Returns the path. */
export async function writeRows(path: string, rows: readonly unknown[]): Promise<string> {
  await Deno.writeTextFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}
