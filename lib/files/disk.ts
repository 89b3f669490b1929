// SPDX-License-Identifier: Apache-2.0
/** Room on the disk, asked before anything large is written. */
import { statfs } from "node:fs/promises";
import { MachineError } from "../core/errors.ts";

/** Bytes that an ordinary user can still write to the disk of a folder; null where that cannot be found out. */
export async function freeBytes(folder: string): Promise<number | null> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch {
    // Not permitted, or not known for this file system: the write itself will tell.
    return null;
  }
}

/**
 * Checks that a folder's disk has room.
 *
 * @param free Bytes there are, or null when unknown
 * @throws {MachineError} Naming the path and both numbers
 */
export function assertRoom(path: string, bytesNeeded: number, free: number | null): void {
  if (free === null || free >= bytesNeeded) return;
  throw new MachineError(
    `Cannot write ${path}: it needs ${bytesNeeded} bytes and the disk has ${free} left; free some space and try again`,
  );
}
