// SPDX-License-Identifier: Apache-2.0
/** How rows and prompts become text. */
import type { Json } from "../core/json.ts";

/** A chat template of the user's own, in place of the model's. */
export interface OwnTemplate {
  /** Its text. */
  readonly jinja: string;
  /** Where it comes from, for messages. */
  readonly name: string;
}

/** How rows become text. Training, scoring and generation must use the same. */
export interface FormatOptions {
  /** "auto" uses the model's chat template when it has one; "off" the plain forms. Default "auto". */
  readonly chatTemplate?: "auto" | "off" | OwnTemplate;
  /**
   * What templates of reasoning models see as `enable_thinking`: "on" or "off"; "auto" (default) is on for conversations
   * whose assistant turns hold thoughts, and off for all others.
   */
  readonly thinking?: "auto" | "on" | "off";
  /** Put before conversations that have no system turn. */
  readonly system?: string;
  /** Further variables of the template, by name, as `apply_chat_template` takes them. */
  readonly templateOptions?: Readonly<Record<string, Json>>;
  /** Of rows of two texts: the field of what is read, and of what is written. Default: by their usual names. */
  readonly sourceField?: string;
  readonly targetField?: string;
  /** Put before every text that is read, as it is: `translate English to German: `. */
  readonly sourcePrefix?: string;
  /** Languages, of tokenizers that have tokens of them: of what is read, and of what is written. */
  readonly srcLang?: string;
  readonly tgtLang?: string;
}
