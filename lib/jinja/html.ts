// SPDX-License-Identifier: Apache-2.0
/** Escaping as markupsafe does it. */
import { spendCharacters } from "./meter.ts";
import { str } from "./repr.ts";
import { Markup, type Value } from "./values.ts";

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "'": "&#39;",
  '"': "&#34;",
};

export function escapeHtml(text: string): string {
  spendCharacters(text.length);
  return text.replace(/[&<>'"]/g, (character) => ENTITIES[character] as string);
}

/** markupsafe.escape(value): what is Markup already stays. */
export function escapeValue(value: Value): Markup {
  return value instanceof Markup ? value : new Markup(escapeHtml(str(value)));
}
