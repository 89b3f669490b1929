// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of tables whose first line names the columns: CSV as RFC 4180 has it, and TSV, in which quotes are letters like others,
 * as GLUE's files have it.
 */
import { readLines } from "./lines.ts";
import type { Fields } from "./row_fields.ts";
import { RowError } from "./row_error.ts";

/** A row that is yet to be understood. */
export interface TableRow {
  /** Its first line, from 1. */
  readonly line: number;
  /** Its cells by column. @throws {RowError} When it has more or fewer cells than there are columns, or is no text */
  fields(): Fields;
}

/** Characters of the longest row: a quote that nobody closes makes one row of all that follows. */
const MOST_CHARACTERS = 1 << 22;

/** Whether a file is a table, by its name. */
export function isTable(path: string): boolean {
  return /\.[ct]sv$/i.test(path);
}

/** Streams the rows of a table, its header left out. Blank lines between rows are passed over. */
export async function* readTableRows(path: string): AsyncGenerator<TableRow> {
  const table = /\.tsv$/i.test(path) ? TSV : CSV;
  let columns: readonly string[] | null = null;
  for await (const { line, text } of recordsOf(path, table)) {
    const cells = text === null ? null : table.split(text);
    if (columns === null) columns = cells ?? [];
    else yield rowOf(line, cells, columns);
  }
}

function rowOf(line: number, cells: readonly string[] | null, columns: readonly string[]): TableRow {
  return {
    line,
    fields() {
      if (cells === null) {
        throw new RowError("unknown shape", "the row is not valid UTF-8, or has a quote that is not closed");
      }
      if (cells.length !== columns.length) {
        throw new RowError(
          "unknown shape",
          `the row has ${cells.length} cells, the first line ${columns.length}`,
        );
      }
      return Object.fromEntries(columns.map((name, i) => [name, cells[i]]));
    },
  };
}

type Split = (text: string) => readonly string[] | null;

/** What tells rows from lines: how TSV and CSV differ. */
interface Table {
  readonly split: Split;
  /** Whether cells may hold line breaks, between quotes. */
  readonly hasQuotes: boolean;
}

const TSV: Table = { split: (text) => text.split("\t"), hasQuotes: false };
const CSV: Table = { split: commaCells, hasQuotes: true };

/** Lines that are rows, several of them where a quoted cell goes on; null for what is no text, or never ends. */
async function* recordsOf(
  path: string,
  { hasQuotes }: Table,
): AsyncGenerator<{ readonly line: number; readonly text: string | null }> {
  let open: OpenRow | null = null;
  for await (const { number, text } of readLines(path)) {
    const own = text?.replace(/\r$/, "") ?? null;
    if (own === null || !hasQuotes) {
      yield { line: open?.first ?? number, text: own };
      open = null;
      continue;
    }
    open ??= { lines: [], first: number, last: number - 1, quotes: 0, characters: 0 };
    // Blank lines within a cell are its own.
    for (let blank = open.last + 1; blank < number; blank++) open.lines.push("");
    open.lines.push(own);
    open.last = number;
    open.quotes += own.split('"').length - 1;
    open.characters += own.length + 1;
    if (open.characters > MOST_CHARACTERS) break;
    if (open.quotes % 2 === 1) continue;
    yield { line: open.first, text: open.lines.join("\n") };
    open = null;
  }
  if (open !== null) yield { line: open.first, text: null };
}

/** A row as far as it was read. */
interface OpenRow {
  readonly lines: string[];
  readonly first: number;
  last: number;
  /** An odd number of them: a cell goes on. */
  quotes: number;
  characters: number;
}

/** Cells between commas; null where quotes are not those of RFC 4180. */
function commaCells(text: string): readonly string[] | null {
  const cells: string[] = [];
  const cell = /(?:"((?:[^"]|"")*)"|(?!")([^,]*))(,|$)/y;
  for (let more = true; more;) {
    const found = cell.exec(text);
    if (found === null) return null;
    cells.push(found[1]?.replaceAll('""', '"') ?? found[2] ?? "");
    more = found[3] === ",";
  }
  return cells;
}
