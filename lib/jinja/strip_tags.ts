// SPDX-License-Identifier: Apache-2.0
/** markupsafe's striptags(). */
import { unsupported } from "./errors.ts";
import { spendCharacters } from "./meter.ts";
import { splitSpace } from "./search.ts";

/** Text without tags and comments, its white space made single spaces, and without entities. */
export function stripTags(text: string): string {
  spendCharacters(text.length);
  let [kept, at] = ["", 0];
  for (;;) {
    const start = text.indexOf("<", at);
    if (start < 0) break;
    const comment = text.startsWith("<!--", start);
    const end = comment ? text.indexOf("-->", start + 4) : text.indexOf(">", start);
    if (end < 0) break;
    kept += text.slice(at, start);
    at = end + (comment ? 3 : 1);
  }
  return unescape(splitSpace(kept + text.slice(at), -1).join(" "));
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&#39;": "'",
  "&#34;": '"',
};

/** html.unescape() of the entities that escaping makes. @throws {JinjaError} When there is another */
function unescape(text: string): string {
  return text.replace(/&(#[0-9a-fA-FxX]|[A-Za-z])[A-Za-z0-9]*;?/g, (entity) => {
    const character = ENTITIES[entity];
    if (character !== undefined) return character;
    throw unsupported(`striptags of a text with the entity "${entity}" is not supported`);
  });
}
