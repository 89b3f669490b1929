// SPDX-License-Identifier: Apache-2.0
/** What of a file changes whenever it is written to or replaced, for those that know its bytes already. */

/** Equal states are equal bytes, unless a clock was turned back. Times are in milliseconds, as far as the system keeps them. */
export interface FileState {
  readonly device: number;
  readonly inode: number | null;
  readonly bytes: number;
  readonly writtenMs: number | null;
  /** Also of a new owner, mode or name. */
  readonly changedMs: number | null;
}

/** The state of a file that was looked at. */
export function stateOf({ dev, ino, size, mtime, ctime }: Deno.FileInfo): FileState {
  return {
    device: dev,
    inode: ino,
    bytes: size,
    writtenMs: mtime?.getTime() ?? null,
    changedMs: ctime?.getTime() ?? null,
  };
}

/** Whether nothing was written in between, as far as can be seen. */
export function isSameState(a: FileState, b: FileState): boolean {
  return isSameFile(a, b) && a.changedMs === b.changedMs;
}

/** Whether it is the same file with the same time of its last byte; its owner, mode or name may be others. */
export function isSameFile(a: FileState, b: FileState): boolean {
  return a.device === b.device && a.inode === b.inode && a.bytes === b.bytes && a.writtenMs === b.writtenMs;
}
