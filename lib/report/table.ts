// SPDX-License-Identifier: Apache-2.0
/** Aligned text tables. */
import { visibleLine } from "../core/visible_text.ts";
import { displayWidth } from "./text_width.ts";

/** Whether a cell starts with a number. */
export const looksNumeric = (text: string) => /^[-+±]?[\d.,]+( |$)/.test(text);

/**
 * Lays rows out in columns. The first row is the head. A column whose every cell below the head starts with a number is
 * right-aligned. A cell is one line, whatever is in it.
 */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const cells = rows.map((row) => row.map(visibleLine));
  const cell = (row: readonly string[], column: number) => row[column] ?? "";
  const widths = Array.from(
    { length: columns },
    (_, c) => Math.max(...cells.map((row) => displayWidth(cell(row, c)))),
  );
  const right = widths.map((_, c) =>
    cells.length > 1 && cells.slice(1).every((row) => looksNumeric(cell(row, c)))
  );
  const line = (row: readonly string[]) =>
    widths.map((width, c) => {
      const text = cell(row, c);
      const fill = " ".repeat(width - displayWidth(text));
      return right[c] ? fill + text : text + fill;
    }).join("  ").trimEnd();
  const [head, ...body] = cells;
  if (head === undefined) return "";
  return [line(head), widths.map((width) => "─".repeat(width)).join("  "), ...body.map(line)].join("\n");
}
