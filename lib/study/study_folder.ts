// SPDX-License-Identifier: Apache-2.0
/** The folder of a study: taken by one process, its left-overs cleaned, and of finished cells only what is kept. */
import { join } from "node:path";
import { UserError } from "../core/errors.ts";
import { lockFolder, makeFolder, removeIfThere } from "../files/folders.ts";
import { describeLeftOvers, describeUnremoved, joinLeftOvers, removeLeftOvers } from "../files/leftovers.ts";
import { isThere } from "../files/read.ts";
import { type CellResult, readResults, RESULT_FILES } from "./results.ts";

/** File of what was asked for. */
export const STUDY_RECORD = "study.json";

/** What is done in a study's folder. */
export interface StudyFolderOptions {
  /** Called with what was cleaned up, and what could not be: one sentence each. Default: none. */
  readonly onWarning?: (warning: string) => void;
  /** Whether the adapters of finished cells stay. */
  readonly keepAdapters: boolean;
  /** Removes a file or a folder, where it is there; for tests. */
  readonly remove?: (path: string) => Promise<void>;
}

/** A study's folder, which is this process's alone until disposed. */
export interface StudyFolder extends Disposable {
  /** Results that were there. */
  readonly results: readonly CellResult[];
  /** Removes what is not kept of finished cells; what cannot be removed is told, and tried again at the next call. */
  tidy(cells: Iterable<CellResult>): Promise<void>;
}

/** Run folder of a cell. */
export function cellFolder(out: string, cell: string): string {
  return join(out, "cells", cell);
}

/**
 * Makes the folder and takes it. What killed studies left half-written, or did not come to remove, is removed.
 *
 * @throws {UserError} When another process has it, or it cannot be written
 */
export async function openStudyFolder(
  out: string,
  { onWarning = () => {}, keepAdapters, remove = removeIfThere }: StudyFolderOptions,
): Promise<StudyFolder> {
  await makeFolder(join(out, "cells"));
  const lock = await lockFolder(out);
  if (lock === null) {
    throw new UserError(
      `Cannot run the study in ${out}: another process is running it; wait for it, or choose another folder`,
    );
  }
  using opening = new DisposableStack();
  opening.use(lock);
  const results = await readResults(out);
  const leftOvers = await removeStudyLeftOvers(out);
  describeLeftOvers(leftOvers, "a killed study").forEach(onWarning);
  const tidy = async (cells: Iterable<CellResult>): Promise<void> => {
    for (const { cell, status } of cells) {
      if (status !== "done") continue;
      const tidied = tidyCell(cellFolder(out, cell), keepAdapters, remove);
      await tidied.catch((error) => onWarning(describeUnremoved(error)));
    }
  };
  await tidy(results);
  opening.move();
  return { results, tidy, [Symbol.dispose]: () => lock.close() };
}

const HOUR_MS = 60 * 60 * 1000;

async function removeStudyLeftOvers(out: string) {
  return joinLeftOvers([
    await removeLeftOvers(out, (name) => [STUDY_RECORD, ...RESULT_FILES].includes(name)),
    // A page is written by its own process, in far less than an hour.
    await removeLeftOvers(out, (name) => name === "report.html", { minAgeMs: HOUR_MS }),
  ]);
}

/** Checkpoints go last: as long as they are there, what is not kept has not all been removed. */
async function tidyCell(
  folder: string,
  keepAdapter: boolean,
  remove: (path: string) => Promise<void>,
): Promise<void> {
  const checkpoints = join(folder, "checkpoints");
  if (!(await isThere(checkpoints))) return;
  if (!keepAdapter) await remove(join(folder, "adapter"));
  await remove(checkpoints);
}
