// SPDX-License-Identifier: Apache-2.0
/** The folder of a run's checkpoints: which there are, which go, and which are of another history. */
import { basename, join } from "node:path";
import { asFileError } from "../files/errors.ts";
import { makeFolder, moveInto, remove } from "../files/folders.ts";
import { describeUnremoved, joinLeftOvers, type LeftOvers, removeLeftOvers } from "../files/leftovers.ts";
import { listFolderIfThere, statIfThere } from "../files/read.ts";
import { unfinishedPath } from "../files/write.ts";

const CHECKPOINT = /^step-(\d{6,})$/;
/** Of earlier versions, while it was written. */
const UNFINISHED_BEFORE = /^\.step-\d{6,}\.partial$/;

/** A checkpoint on disk. */
export interface CheckpointEntry {
  readonly step: number;
  readonly path: string;
}

/** Name of the checkpoint of a step. */
export function checkpointName(step: number): string {
  return `step-${String(step).padStart(6, "0")}`;
}

/** Checkpoints of a folder, oldest first, complete or not. None when the folder does not exist. */
export async function listCheckpoints(folder: string): Promise<CheckpointEntry[]> {
  const found = (await listFolderIfThere(folder)).flatMap(({ name, isFile }) => {
    const step = Number(CHECKPOINT.exec(name)?.[1]);
    return !isFile && name === checkpointName(step) ? [{ step, path: join(folder, name) }] : [];
  });
  return found.toSorted((a, b) => a.step - b.step);
}

/**
 * Sets the checkpoints after a step aside, into a new folder beside them: the run goes on from that step, and what it did
 * after it before is another history, which no resume may mistake for its own.
 *
 * @returns One sentence that says where they are; null when there are none
 */
export async function setLaterAside(folder: string, step: number): Promise<string | null> {
  const later = (await listCheckpoints(folder)).filter((entry) => entry.step > step).map(({ path }) => path);
  if (later.length === 0) return null;
  const place = await setAside(folder, later.toReversed());
  const names = later.map((path) => basename(path)).join(", ");
  return `checkpoints after step ${step}, where the run goes on, were set aside in ${place}: ${names}`;
}

/** Moves checkpoints into a folder `set-aside-1`, or the next that is free. */
export async function setAside(folder: string, paths: readonly string[]): Promise<string> {
  let number = 1;
  const place = () => join(folder, `set-aside-${number}`);
  while (await statIfThere(place()) !== null) number++;
  await makeFolder(place());
  for (const path of paths) await moveInto(path, join(place(), basename(path)));
  return place();
}

/** Removes what killed runs left half-written or half-removed, and what could not be removed before. */
export async function removeUnfinished(folder: string): Promise<LeftOvers> {
  const before: string[] = [];
  const failures: unknown[] = [];
  for (const { name } of await listFolderIfThere(folder)) {
    if (!UNFINISHED_BEFORE.test(name)) continue;
    await remove(join(folder, name)).then(() => before.push(join(folder, name)), (e) => failures.push(e));
  }
  const now = await removeLeftOvers(folder, (name) => CHECKPOINT.test(name));
  return joinLeftOvers([{ removed: before, failures }, now]);
}

/** Choices of {@linkcode removeOld}. */
export interface RemoveOptions {
  /** Called with what could not be removed, one sentence each: it is tried again at the next call. Default: none. */
  readonly onWarning?: (warning: string) => void;
  /** Removes a folder; for tests. */
  readonly remove?: (path: string) => Promise<void>;
}

/**
 * Removes the oldest checkpoints before a step, so that it and the newest others are left, as many as the limit says. Later
 * ones, which are of another history, are nobody's to remove.
 */
export async function removeOld(
  folder: string,
  step: number,
  limit: number | null,
  { onWarning = () => {}, remove: removeFolder = remove }: RemoveOptions = {},
): Promise<void> {
  if (limit === null) return;
  const older = (await listCheckpoints(folder)).filter((entry) => entry.step < step);
  for (const { path } of older.slice(0, Math.max(0, older.length - (limit - 1)))) {
    try {
      // Half-removed it must not be taken for a checkpoint.
      const hidden = unfinishedPath(path);
      await moveInto(path, hidden).catch(({ cause }) => {
        throw asFileError(cause, "remove", path);
      });
      await removeFolder(hidden);
    } catch (error) {
      onWarning(describeUnremoved(error));
    }
  }
}
