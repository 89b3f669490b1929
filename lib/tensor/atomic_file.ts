// SPDX-License-Identifier: Apache-2.0
/** Files that are there whole or not at all: written beside their place, synced, then renamed into it. */
import { basename, dirname, join } from "node:path";
import { UserError } from "../core/errors.ts";

/** Takes the pieces of a file in order. */
export type FileWriter = (bytes: Uint8Array) => Promise<void>;

/** Numbers of Linux errors that mean "no room" (disk full, file too large, quota used up); not all have a code in Deno. */
const NO_ROOM = /\(os error (28|27|122)\)/;
const OS_ERROR = /\(os error \d+\)/;

/**
 * Creates or replaces a file. Until the last byte is on the disk, what stood there before stands there still; when
 * anything fails, the unfinished file is removed.
 *
 * @param bytesNeeded Size it will have, for the message when there is no room
 * @throws {UserError} When it cannot be written, naming the path and what is in the way
 */
export async function writeFileAtomically(
  path: string,
  bytesNeeded: number,
  write: (writer: FileWriter) => Promise<void>,
): Promise<void> {
  const unfinished = join(dirname(path), `.${basename(path)}.${crypto.randomUUID()}.part`);
  try {
    using file = await Deno.open(unfinished, { write: true, createNew: true });
    await write((bytes) => writeAll(file, bytes));
    await file.sync();
  } catch (error) {
    await removeIfThere(unfinished);
    throw asWriteError(error, path, bytesNeeded);
  }
  try {
    await Deno.rename(unfinished, path);
  } catch (error) {
    await removeIfThere(unfinished);
    throw asWriteError(error, path);
  }
  await syncFolder(dirname(path));
}

/** Creates or replaces a text file; see {@linkcode writeFileAtomically}. */
export async function writeTextAtomically(path: string, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  await writeFileAtomically(path, bytes.length, (write) => write(bytes));
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  // Pieces of 64 MiB: one write call takes at most 2 GiB.
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done, done + (1 << 26)));
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** A rename is durable once its folder is synced. */
export async function syncFolder(folder: string): Promise<void> {
  using handle = await Deno.open(folder, { read: true });
  await handle.sync();
}

/** Makes a folder and those above it. @throws {UserError} When that cannot be, naming it and what is in the way */
export async function makeFolder(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true });
  } catch (error) {
    throw asWriteError(error, path);
  }
}

/**
 * An error of the operating system on writing, made plain; any other as it is.
 *
 * @param bytesNeeded For the message when there is no room
 */
export function asWriteError(error: unknown, path: string, bytesNeeded: number | null = null): unknown {
  if (!(error instanceof Error) || !OS_ERROR.test(error.message)) return error;
  // Deno adds the call and the file's passing name.
  const reason = error.message.replace(/(\(os error \d+\)).*/s, "$1");
  if (!NO_ROOM.test(reason)) return new UserError(`Cannot write ${path}: ${reason}`, { cause: error });
  const needed = bytesNeeded === null ? "" : `it needs ${bytesNeeded} bytes and `;
  return new UserError(
    `Cannot write ${path}: ${needed}there is no room (${reason}); free some space and try again`,
    { cause: error },
  );
}
