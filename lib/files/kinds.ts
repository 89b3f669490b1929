// SPDX-License-Identifier: Apache-2.0
/** Paths that are no files: what is read from them may never come, or never end. */
import { UserError } from "../core/errors.ts";

/** What this process was given open, `<(command)` of a shell among it: somebody writes into it, so it may be a pipe. */
const OPEN_ALREADY = /^\/(dev\/(fd\/\d+|stdin)|proc\/self\/fd\/\d+)$/;

/** Logs of the kernel, which look like files and wait for what comes next. */
const ENDLESS_LOG = /^\/(proc|sys)\/(.*\/)?(kmsg|trace_pipe)$/;

/** What is always empty, which is an end. */
const NOTHING = "/dev/null";

/**
 * Refuses to read from pipes, devices and logs of the kernel, before anything is opened: opening a pipe that nobody writes
 * into waits for ever.
 *
 * @throws {UserError} Naming the path and what it is
 */
export function refuseEndless(path: string): void {
  const kind = endlessKind(path);
  if (kind !== null) throw new UserError(`Cannot read ${path}: it is ${kind}, not a file`);
}

/** What a path is that is no file; null for files and folders, and for what cannot be looked at. */
export function endlessKind(path: string): string | null {
  if (OPEN_ALREADY.test(path) || path === NOTHING) return null;
  let found: Deno.FileInfo;
  let real: string;
  try {
    found = Deno.statSync(path);
    if (found.isDirectory) return null;
    real = Deno.realPathSync(path);
  } catch {
    return null; // opening it says why
  }
  if (found.isFifo) return "a pipe";
  if (found.isSocket) return "a socket";
  if ((found.isCharDevice || found.isBlockDevice) && real !== NOTHING) return "a device";
  return ENDLESS_LOG.test(real) ? "a log of the kernel" : null;
}
