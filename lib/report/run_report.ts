// SPDX-License-Identifier: Apache-2.0
/** `report.html` of a run folder: written at the end of a run, and now and then while it goes on. */
import { join } from "node:path";
import { writeTextAtomically } from "../tensor/atomic_file.ts";
import { renderPage } from "./html_page.ts";
import { runPage } from "./run_page.ts";
import { readRunRecord } from "./run_record.ts";

/**
 * Writes the report of a run, from what its folder holds. Readers see the old page or the new one, never half of one.
 *
 * @returns Path of the page
 * @throws {UserError} When the folder holds no run, or cannot be written
 */
export async function writeRunReport(folder: string): Promise<string> {
  const path = join(folder, "report.html");
  await writeTextAtomically(path, renderPage(runPage(await readRunRecord(folder))));
  return path;
}

/** Keeps a report fresh while its run goes on. */
export interface ReportRefresh {
  /** Writes the report anew if it is due: often enough to watch, seldom enough to cost little. */
  afterStep(): Promise<void>;
}

/** Share of a run's time that its report may take. */
const TIME_SHARE = 0.02;
/** Nobody reads faster, in milliseconds. */
const SHORTEST_INTERVAL_MS = 2000;

/** @param now A clock in milliseconds */
export function createReportRefresh(
  write: () => Promise<unknown>,
  now: () => number = () => performance.now(),
): ReportRefresh {
  let dueMs = now() + SHORTEST_INTERVAL_MS;
  return {
    async afterStep() {
      const startMs = now();
      if (startMs < dueMs) return;
      await write();
      const endMs = now();
      dueMs = endMs + Math.max(SHORTEST_INTERVAL_MS, (endMs - startMs) / TIME_SHARE);
    },
  };
}
