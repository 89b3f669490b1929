// SPDX-License-Identifier: Apache-2.0
/** Files that are there whole or not at all: written beside their place, synced, then renamed into it. */
import { basename, dirname, join } from "node:path";
import { asFileError, named } from "./errors.ts";
import { moveInto, removeQuietly, syncFolder } from "./folders.ts";
import { statIfThere } from "./read.ts";

/** Takes the pieces of a file in order. */
export type FileWriter = (bytes: Uint8Array) => Promise<void>;

/** Names of what is not whole yet; what it becomes is the first group. */
export const UNFINISHED = /^\.(.+)\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.part$/;

/** Where something is written until it is whole: beside its place, under a name that nothing else has. */
export function unfinishedPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.${crypto.randomUUID()}.part`);
}

/**
 * Creates or replaces a file. Until the last byte is on the disk, what stood there before stands there still; when
 * anything fails, the unfinished file is removed.
 *
 * @param bytesNeeded Size it will have, for the message when there is no room; null where it is not known before
 * @throws {UserError | MachineError} When it cannot be written, naming the path and what is in the way
 */
export async function writeFileAtomically(
  path: string,
  bytesNeeded: number | null,
  write: (writer: FileWriter) => Promise<void>,
): Promise<void> {
  const unfinished = unfinishedPath(path);
  try {
    using file = await Deno.open(unfinished, { write: true, createNew: true });
    await write((bytes) => writePieces(file, bytes));
    await file.sync();
  } catch (error) {
    await removeQuietly(unfinished);
    throw asFileError(error, "write", path, { bytesNeeded });
  }
  try {
    await moveInto(unfinished, path);
  } catch (error) {
    await removeQuietly(unfinished);
    throw error;
  }
}

/** Creates or replaces a text file; see {@linkcode writeFileAtomically}. */
export async function writeTextAtomically(path: string, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  await writeFileAtomically(path, bytes.length, (write) => write(bytes));
}

/** A file that grows at its end. */
export interface AppendFile extends Disposable {
  append(bytes: Uint8Array): Promise<void>;
  appendSync(bytes: Uint8Array): void;
  /** Takes back what stands after the first `length` bytes. */
  cut(length: number): Promise<void>;
  /** Waits until all is on the disk. */
  sync(): Promise<void>;
}

/** Opens a file to write at its end; where there is none, it is made, durably. */
export async function openToAppend(path: string): Promise<AppendFile> {
  const isNew = await statIfThere(path) === null;
  const file = await named("write", path, () => Deno.open(path, { append: true, create: true }));
  if (isNew) await syncFolder(dirname(path));
  const failed = (error: unknown, { length }: Uint8Array): unknown =>
    asFileError(error, "write", path, { bytesNeeded: length });
  return {
    async append(bytes) {
      try {
        await writePieces(file, bytes);
      } catch (error) {
        throw failed(error, bytes);
      }
    },
    appendSync(bytes) {
      try {
        for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
      } catch (error) {
        throw failed(error, bytes);
      }
    },
    cut: (length) => named("write", path, () => file.truncate(length)),
    sync: () => named("sync", path, () => file.sync()),
    [Symbol.dispose]: () => file.close(),
  };
}

/** Writes to what may be a pipe or a device too, so that nothing is renamed into its place. */
export async function writeTextTo(path: string, text: string): Promise<void> {
  try {
    await Deno.writeTextFile(path, text);
  } catch (error) {
    throw asFileError(error, "write", path, { bytesNeeded: text.length });
  }
}

async function writePieces(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  // Pieces of 64 MiB: one write call takes at most 2 GiB.
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done, done + (1 << 26)));
}
