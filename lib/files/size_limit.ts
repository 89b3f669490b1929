// SPDX-License-Identifier: Apache-2.0
/** The limit on the size of a file that a process writes (`ulimit -f`). */

/** Set by `scripts/deno.sh`, which starts Deno with the signal ignored: so are its children then, without a word of theirs. */
const IGNORED = "MEFT_IGNORES_SIGXFSZ";

/**
 * From now on a write past the limit is an error like that of a full disk, for the whole process: the system's way is to end it
 * without a word, by SIGXFSZ. For programs of their own, never for a library.
 */
export function surviveFileSizeLimit(): void {
  const { state } = Deno.permissions.querySync({ name: "env", variable: IGNORED });
  // A listener would be in place of what was ignored, and children begin with neither.
  if (state !== "granted" || Deno.env.get(IGNORED) !== "1") Deno.addSignalListener("SIGXFSZ", () => {});
}
