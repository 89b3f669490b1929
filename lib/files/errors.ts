// SPDX-License-Identifier: Apache-2.0
/** What goes wrong with files, as one sentence: what was being done, with which path, and what was in the way first. */
import { MachineError, UserError } from "../core/errors.ts";

/** What was being done when it failed: "Cannot read x: …". */
export type FileAction = "read" | "write" | "make" | "list" | "remove" | "rename" | "copy" | "lock" | "sync";

/** Linux's error numbers of what no other flag or path mends, each with a way out where there is one. */
const OF_THE_MACHINE: ReadonlyMap<number, string | null> = new Map([
  [4, null], // EINTR
  [5, null], // EIO
  [11, null], // EAGAIN
  [12, "free some memory"], // ENOMEM
  [16, null], // EBUSY
  [23, "close other programs, or raise the system's limit (fs.file-max)"], // ENFILE
  [24, "raise the limit on open files (ulimit -n)"], // EMFILE
  [26, null], // ETXTBSY
  [27, "raise the limit on file sizes (ulimit -f), or write to another file system"], // EFBIG
  [28, "free some space and try again"], // ENOSPC
  [110, null], // ETIMEDOUT
  [116, null], // ESTALE
  [117, null], // EUCLEAN
  [121, null], // EREMOTEIO
  [122, "free some space and try again"], // EDQUOT
]);

/** Of those, the ones that say that what is written finds no place. */
const NO_ROOM = [27, 28, 122];

/** Choices of {@linkcode asFileError}. */
export interface FileErrorOptions {
  /** Bytes that were to be written, for the message when there is no room. */
  readonly bytesNeeded?: number | null;
}

/**
 * The error of a failed file operation made plain; any other error as it is, so that what was thrown within stays the first
 * cause.
 *
 * @returns A {@linkcode UserError} for what another path or permission mends, a {@linkcode MachineError} for the rest
 */
export function asFileError(
  error: unknown,
  action: FileAction,
  path: string,
  { bytesNeeded = null }: FileErrorOptions = {},
): unknown {
  if (!(error instanceof Error)) return error;
  const start = `Cannot ${action} ${path}:`;
  if (error instanceof Deno.errors.NotCapable) {
    // Its way out, all permissions, is not meant for a path that holds no data.
    const isOfTheSystem = error.message.startsWith("Requires all access");
    const why = isOfTheSystem ? "/proc, /sys and /dev hold no data; choose another path" : error.message;
    return new UserError(`${start} ${why}`, { cause: error });
  }
  if (error instanceof TypeError && error.message.includes("NUL byte")) {
    return new UserError(`Cannot ${action} ${JSON.stringify(path)}: a path holds no NUL`, { cause: error });
  }
  // Deno adds the call and the file's passing name.
  const [, reason = "", number = ""] = /^(.*?) \(os error (\d+)\)/s.exec(error.message) ?? [];
  if (number === "") return error;
  const wayOut = OF_THE_MACHINE.get(Number(number));
  const said = `${reason} (os error ${number})`;
  if (wayOut === undefined) return new UserError(`${start} ${said}`, { cause: error });
  const hasNoRoom = NO_ROOM.includes(Number(number));
  const needed = hasNoRoom && bytesNeeded !== null ? ` it needs ${bytesNeeded} bytes and` : "";
  const what = hasNoRoom ? `${needed} there is no room (${said})` : ` ${said}`;
  return new MachineError(`${start}${what}${wayOut === null ? "" : `; ${wayOut}`}`, { cause: error });
}

/** Whether an error of this level says that there is no such file or folder. */
export function saysNotFound(error: unknown): boolean {
  return error instanceof UserError && error.cause instanceof Deno.errors.NotFound;
}

/** Whether an error of this level says that a file is there for others, not for this process. */
export function saysForbidden(error: unknown): boolean {
  if (!(error instanceof UserError)) return false;
  return error.cause instanceof Deno.errors.PermissionDenied || error.cause instanceof Deno.errors.NotCapable;
}

/**
 * A user's mistake as a sentence, to list it beside others.
 *
 * @throws What the machine did, and any defect, as they are
 */
export function problemOf(error: unknown): string {
  if (error instanceof UserError) return error.message;
  throw error;
}

/** Does a file operation; see {@linkcode asFileError}. */
export async function named<T>(action: FileAction, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asFileError(error, action, path);
  }
}

/** Does a file operation that does not wait; see {@linkcode asFileError}. */
export function namedSync<T>(action: FileAction, path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw asFileError(error, action, path);
  }
}
