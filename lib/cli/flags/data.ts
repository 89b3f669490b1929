// SPDX-License-Identifier: Apache-2.0
/** What flags say of the data that is read, and what is said of it; shared by the commands that read some. */
import { visibleLine } from "../../core/visible_text.ts";
import { countBadRows } from "../../data/load_data.ts";
import { type Dataset, exampleCount, type ReadReport } from "../../data/dataset.ts";
import { formatWarning } from "../../data/row_warnings.ts";
import { formatCount } from "../../report/format.ts";
import { formatTable } from "../../report/table.ts";
import { dataOptionsOf } from "../../train/settings.ts";
import { settingsOf } from "./settings.ts";
import type { FlagValues } from "./flags.ts";
import { DEMO } from "../session.ts";

/** The data files that the flags name. */
export function dataPaths(values: FlagValues): readonly string[] {
  return (values.data ?? [DEMO.facts]) as readonly string[];
}

/** How they are read. */
export function dataOptions(values: FlagValues): ReturnType<typeof dataOptionsOf> {
  return dataOptionsOf(settingsOf(values));
}

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
