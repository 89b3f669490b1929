// SPDX-License-Identifier: Apache-2.0
/** What is said of data that was read: rows used and left out, tokens, what is worth a look. */
import { visibleLine } from "../core/visible_text.ts";
import { type Dataset, exampleCount, type ReadReport } from "../data/dataset.ts";
import { countBadRows } from "../data/bad_rows.ts";
import { formatWarning } from "../data/row_warnings.ts";
import { formatCount } from "../report/format.ts";
import { formatTable } from "../report/table.ts";

/** What was read of data files, used and left out, as table rows. */
export function rowCounts({ rowsRead, rowsUsed, badRows }: ReadReport): string[][] {
  return [
    ["read", String(rowsRead)],
    ["used", String(rowsUsed)],
    ...countBadRows(badRows).map(([category, count]) => [`left out: ${category}`, String(count)]),
  ];
}

/** Rows of the data files that were read, used and left out, for the JSON object. */
export function rowsResult(report: ReadReport): Record<string, unknown> {
  const { rowsRead, rowsUsed, badRows } = report;
  return { rowsRead, rowsUsed, badRows: Object.fromEntries(countBadRows(badRows)) };
}

/** A data set's account: a table of what was read, used, left out and cut, and what is worth a look. */
export function dataSummary(data: Dataset): string {
  const warnings = data.report.warnings.map((warning) => `\nwarning: ${visibleLine(formatWarning(warning))}`);
  return formatTable(summaryRows(data)) + warnings.join("");
}

function summaryRows(data: Dataset): string[][] {
  const { report } = data;
  const examples = exampleCount(data);
  return [
    ["rows", "count"],
    ...rowCounts(report),
    ...(examples === report.rowsUsed ? [] : [["as examples", String(examples)]]),
    ["cut to length", String(report.truncatedRows)],
    ["tokens", formatCount(report.tokens)],
    ["tokens cut off", formatCount(report.cutTokens)],
    ["targets", formatCount(report.targets)],
  ];
}
