// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/files. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const FILES: readonly Mutant[] = [
  {
    name: "half-file-stays",
    harm: "a failed write leaves an unfinished file in the user's folder",
    file: "lib/files/write.ts",
    find: `    await removeQuietly(unfinished);
    throw asFileError(error, "write", path, { bytesNeeded });`,
    replace: `    throw asFileError(error, "write", path, { bytesNeeded });`,
    tests: ["tests/unit/files"],
  },
];
