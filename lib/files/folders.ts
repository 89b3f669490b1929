// SPDX-License-Identifier: Apache-2.0
/** Folders and their entries: made, renamed, copied and removed so that a loss of power undoes nothing that was said done. */
import { dirname, resolve } from "node:path";
import { UserError } from "../core/errors.ts";
import { asFileError, named } from "./errors.ts";
import { nullIfAbsent, statIfThere } from "./read.ts";

/** Waits until a folder's entries are on the disk: a new name, or a rename, is durable only then. */
export function syncFolder(path: string): Promise<void> {
  return named("sync", path, async () => {
    using folder = await Deno.open(path, { read: true });
    await folder.sync();
  });
}

/** Makes a folder and those above it, each durable. Nothing happens where it is there. */
export async function makeFolder(path: string): Promise<void> {
  const missing: string[] = [];
  for (let at = resolve(path); await statIfThere(at) === null && at !== dirname(at); at = dirname(at)) {
    missing.push(at);
  }
  try {
    await Deno.mkdir(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw asFileError(error, "make", path);
    // A folder after all: another process made it, or it could not be seen before.
    if ((await statIfThere(path))?.isDirectory !== true) {
      const message = `Cannot make ${path}: what stands there is no folder; choose another path`;
      throw new UserError(message, { cause: error });
    }
  }
  for (const made of missing.toReversed()) await syncFolder(dirname(made));
}

/** Gives a file or a folder the name `to`, in place of a file there, durably. */
export async function moveInto(from: string, to: string): Promise<void> {
  try {
    await Deno.rename(from, to);
  } catch (error) {
    throw asFileError(error, "write", to);
  }
  await syncFolder(dirname(to));
  if (resolve(dirname(from)) !== resolve(dirname(to))) await syncFolder(dirname(from));
}

/** Copies a file, durably but for its name: sync its folder when all are there. */
export async function copyFile(from: string, to: string): Promise<void> {
  try {
    await Deno.copyFile(from, to);
    using file = await Deno.open(to, { read: true }); // what may not be written can be copied too
    await file.sync();
  } catch (error) {
    throw asFileError(error, "copy", `${from} to ${to}`);
  }
}

/** Removes a file, or a folder with all within. @throws {UserError} Also when it is not there */
export function remove(path: string): Promise<void> {
  return named("remove", path, () => Deno.remove(path, { recursive: true }));
}

/** Removes a file, or a folder with all within, where there is one. */
export async function removeIfThere(path: string): Promise<void> {
  if (await named("remove", path, () => Deno.lstat(path).catch(nullIfAbsent)) !== null) await remove(path);
}

/** Removes what an error left behind: whatever keeps it from that must not hide the error. */
export async function removeQuietly(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch(() => {});
}

/** Gives a file today's date, where that may be done: who used what last decides only what goes first. */
export async function touchQuietly(path: string): Promise<void> {
  await Deno.utime(path, new Date(), new Date()).catch(() => {});
}

/** Whether a path still leads to what was opened by it: nobody removed it, and put nothing else in its place. */
export async function leadsTo(path: string, opened: Deno.FsFile): Promise<boolean> {
  const [there, ours] = [await statIfThere(path), await named("read", path, () => opened.stat())];
  return there !== null && there.ino === ours.ino && there.dev === ours.dev;
}

/**
 * Locks a folder itself, so that no file is left behind; the system takes the lock back however the process ends. Closing it
 * gives it back; null when another process has it.
 */
export function lockFolder(path: string): Promise<Deno.FsFile | null> {
  // Some network file systems have no such locks: there, people must look out themselves.
  return takeLock(path, true);
}

/**
 * Takes a folder that a process may be writing, which holds its lock as long as it does. Closing it gives it back; null when
 * one is, and where there are no locks to tell.
 */
export function claimFolder(path: string): Promise<Deno.FsFile | null> {
  return takeLock(path, false);
}

/** @param withoutLocks Whether the folder counts as taken where the file system has no locks */
async function takeLock(path: string, withoutLocks: boolean): Promise<Deno.FsFile | null> {
  const folder = await named("lock", path, () => Deno.open(path, { read: true }));
  if (await folder.tryLock(true).catch(() => withoutLocks)) return folder;
  folder.close();
  return null;
}
