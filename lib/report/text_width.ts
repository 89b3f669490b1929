// SPDX-License-Identifier: Apache-2.0
/** Text in columns of a terminal, where a character may take none, one or two. */
import stringWidth from "string-width";

/** Columns that a piece of text takes; colour codes take none. */
export function displayWidth(text: string): number {
  return stringWidth(text);
}

/** The start of a text that fits into so many columns, never half a character. Text with colour codes is not for this. */
export function cutToWidth(text: string, columns: number): string {
  let kept = "";
  let width = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    width += stringWidth(segment);
    if (width > columns) break;
    kept += segment;
  }
  return kept;
}
