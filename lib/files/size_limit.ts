// SPDX-License-Identifier: Apache-2.0
/** The limit on the size of a file that a process writes (`ulimit -f`). */

/**
 * From now on a write past the limit is an error like that of a full disk, for the whole process: the system's way is to end it
 * without a word, by SIGXFSZ. For programs of their own, never for a library.
 */
export function surviveFileSizeLimit(): void {
  Deno.addSignalListener("SIGXFSZ", () => {});
}
