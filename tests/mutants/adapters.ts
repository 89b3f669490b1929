// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/adapters. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const ADAPTERS: readonly Mutant[] = [
  {
    name: "first-piece-written-again",
    harm: "every adapter of more than 1,024 neurons is saved wrong",
    file: "lib/adapters/adapter_files.ts",
    find: `    k.rowMatrixRead(piece, matrix, row);
`,
    replace: `    k.rowMatrixRead(piece, matrix, 0);
`,
    tests: ["tests/unit/train/thresholds_test.ts"],
  },
  {
    name: "first-piece-read-again",
    harm: "every adapter of more than 1,024 neurons is loaded wrong",
    file: "lib/adapters/adapter_files.ts",
    find: `    const offsetBytes = entry.offsetBytes + row * rowBytes;
`,
    replace: `    const offsetBytes = entry.offsetBytes;
`,
    tests: ["tests/unit/train/thresholds_test.ts"],
  },
  {
    name: "pieces-land-on-the-first",
    harm: "rows beyond 1,024 of a loaded adapter are zero",
    file: "lib/adapters/adapter_files.ts",
    find: `    k.rowMatrixWrite(matrix, piece, row);
`,
    replace: `    k.rowMatrixWrite(matrix, piece, 0);
`,
    tests: ["tests/unit/train/thresholds_test.ts"],
  },
  {
    name: "one-stream-for-all-keys",
    harm: "neurons 1,024 apart start as the same neuron",
    file: "lib/adapters/sparse.ts",
    find: "stream + row / ROWS_PER_STREAM",
    replace: "stream",
    tests: ["tests/unit/train/thresholds_test.ts"],
  },
];
