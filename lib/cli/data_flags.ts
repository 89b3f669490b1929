// SPDX-License-Identifier: Apache-2.0
/** Flags that say what data is read and how, shared by the commands that read some. */
import { visibleLine } from "../core/visible_text.ts";
import { countBadRows } from "../data/load_data.ts";
import { type Dataset, exampleCount, type ReadReport } from "../data/dataset.ts";
import { formatWarning } from "../data/row_warnings.ts";
import { formatCount } from "../report/format.ts";
import { formatTable } from "../report/table.ts";
import { dataOptionsOf } from "../train/settings.ts";
import { settingsOf } from "./flag_settings.ts";
import { FORMAT_FLAGS } from "./format_flags.ts";
import type { Flag, FlagValues } from "./flags.ts";
import { DEMO } from "./session.ts";

/** What becomes of rows that cannot be used. */
export const BAD_ROWS_FLAG: Flag = {
  name: "bad-rows",
  kind: "text",
  choices: ["stop", "skip"],
  help: "what a row that cannot be used does",
  defaultText: "stop",
};

/** What is read. */
export const DATA_FLAGS: readonly Flag[] = [
  { name: "data", kind: "texts", help: "JSONL files", defaultText: "the demo's facts" },
  {
    name: "seq-len",
    kind: "integer",
    min: 2,
    help: "longest row in tokens; longer ones are cut",
    defaultText: "256",
  },
  {
    name: "loss-on",
    kind: "text",
    choices: ["completion", "all"],
    help: "tokens that count in the loss",
    defaultText: "completion",
  },
  ...FORMAT_FLAGS,
  BAD_ROWS_FLAG,
  {
    name: "data-cache",
    kind: "text",
    choices: ["on", "off"],
    help: "keep tokenised data on disk for the next time, in $MEFT_CACHE or ~/.cache/meft",
    defaultText: "on",
  },
];

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
