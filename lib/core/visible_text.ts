// SPDX-License-Identifier: Apache-2.0
/**
 * Foreign text made safe to show. Names, rows, answers and messages of files may hold characters that are no text but orders:
 * they move the cursor, colour what follows, turn the order of what stands beside them. They are shown by their escapes, as
 * JSON writes them: `\u001b`.
 */
import { styleText } from "node:util";

/**
 * What changes how other text is shown, or cannot be seen: control characters (C0, DEL, C1), separators of lines and
 * paragraphs, halves of surrogate pairs, annotations, and invisible format characters, the bidirectional ones among them.
 * The two joiners stay: scripts and emoji are written with them.
 */
const ORDERS =
  /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\u{fff9}-\u{fffb}]|(?![\u{200c}\u{200d}])(?=\p{Default_Ignorable_Code_Point})\p{Cf}/gu;

const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };

function escapeOrder(character: string): string {
  const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
  return SHORT[character] ?? units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
}

/** Text of several lines: newlines and tabs stay what they are. */
export function visibleText(text: string): string {
  return text.replace(ORDERS, (order) => order === "\n" || order === "\t" ? order : escapeOrder(order));
}

/** Text that has to stay on its line: a name, a cell, a sentence. JSON stays the same JSON. */
export function visibleLine(text: string): string {
  return text.replace(ORDERS, escapeOrder);
}

/** Text in a style of our own. */
export interface Styled {
  readonly style: Parameters<typeof styleText>[0];
  readonly text: string;
}

/** Text for a terminal. Strings, however they came, carry no orders there: colours are told apart by being said aside. */
export type TerminalText = string | readonly (string | Styled)[];

/** Text as a terminal takes it: ours in its styles, and nothing else that a terminal obeys but newlines and tabs. */
export function formatTerminalText(text: TerminalText): string {
  if (typeof text === "string") return visibleText(text);
  return text.map((part) =>
    typeof part === "string"
      ? visibleText(part)
      : styleText(part.style, visibleText(part.text), { validateStream: false })
  ).join("");
}
