// SPDX-License-Identifier: Apache-2.0
/** What becomes of rows that cannot be used: left out and counted, or one error that lists them. */
import { UserError } from "../core/errors.ts";
import type { ReadReport } from "./dataset.ts";
import type { BadRowCategory } from "./row_error.ts";
import { type BadRow, formatPlace } from "./rows.ts";

/** What to do with bad rows. */
export type BadRowPolicy = "stop" | "skip";

/** Bad rows listed in the error of policy "stop". */
const LISTED_BAD_ROWS = 20;

/** Rows that cannot be used, under the policy "stop", or no row that can, under any. */
export class BadRowsError extends UserError {
  override readonly name = "BadRowsError";
  readonly badRows: readonly BadRow[];

  constructor(badRows: readonly BadRow[], rowsRead: number) {
    const remedy = badRows.length < rowsRead ? "; mend them, or leave them out with --bad-rows skip" : "";
    const listed = badRows.slice(0, LISTED_BAD_ROWS).map((bad) => `${formatPlace(bad)}: ${bad.reason}`);
    const more = badRows.length - listed.length;
    super(`${badRows.length} of ${rowsRead} rows cannot be used${remedy}:`, {
      lines: [...listed, ...(more > 0 ? [`… and ${more} more`] : [])],
    });
    this.badRows = badRows;
  }
}

/**
 * Ends the reading of files.
 *
 * @param plural What their rows are called
 * @throws {BadRowsError} With policy "stop", when there are bad rows; with "skip", when all are
 * @throws {UserError} When there is no row
 */
export function checkRowsRead(
  paths: readonly string[],
  policy: BadRowPolicy,
  { rowsRead, rowsUsed, badRows }: ReadReport,
  plural = "rows",
): void {
  if (rowsRead === 0) {
    throw new UserError(`There are no ${plural} in ${paths.map((path) => `"${path}"`).join(", ")}`);
  }
  if (badRows.length > 0 && (policy === "stop" || rowsUsed === 0)) throw new BadRowsError(badRows, rowsRead);
}

/** Bad rows by category, largest first, for a summary. */
export function countBadRows(badRows: readonly BadRow[]): [BadRowCategory, number][] {
  const counts = new Map<BadRowCategory, number>();
  for (const { category } of badRows) counts.set(category, (counts.get(category) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}
