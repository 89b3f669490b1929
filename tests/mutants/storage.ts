// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/storage. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const STORAGE: readonly Mutant[] = [
  {
    name: "first-piece-uploaded-again",
    harm: "weights of more than 16 MiB are wrong on a device",
    file: "lib/storage/weights.ts",
    find: "file?.read(entry.offsetBytes + begin, count)",
    replace: "file?.read(entry.offsetBytes, count)",
    tests: ["tests/native/weights_test.ts"],
  },
  {
    name: "last-piece-not-uploaded",
    harm: "the end of large weights is what was there before",
    file: "lib/storage/weights.ts",
    find: "begin < bytes; begin += UPLOAD_BYTES",
    replace: "begin + UPLOAD_BYTES <= bytes; begin += UPLOAD_BYTES",
    tests: ["tests/native/weights_test.ts"],
  },
  {
    name: "device-weights-kept",
    harm: "a closed model stays on the device",
    file: "lib/storage/weights.ts",
    find: "for (const block of blocks.splice(0)) device.release(block);",
    replace: "blocks.splice(0);",
    tests: ["tests/native/weights_test.ts"],
  },
  {
    name: "file-mapped-for-each-weight",
    harm: "a file counts once a weight",
    file: "lib/storage/weights.ts",
    find: `        files.set(entry.path, file);
`,
    replace: "",
    tests: ["tests/native/weights_test.ts"],
  },
  {
    name: "narrowed-weights-kept",
    harm: "the ledger keeps weights that were read",
    file: "lib/storage/weights.ts",
    find: `      account(kernels.ledger, "weights", -heldBytes);
`,
    replace: "",
    tests: ["tests/native/weights_test.ts"],
  },
  {
    name: "unmapped-files-counted",
    harm: "memory is predicted twice for f64",
    file: "lib/storage/weights.ts",
    find: "mapped.has(file.path) ? file.fileBytes : 0",
    replace: "file.fileBytes",
    tests: ["tests/unit/storage/weights_test.ts"],
  },
  {
    name: "f64-counted-whole",
    harm: "memory is predicted too large for f64",
    file: "lib/storage/weights.ts",
    find: "(isNarrowed(entry) ? entry.bytes / 2 : entry.bytes)",
    replace: "entry.bytes",
    tests: ["tests/unit/storage/weights_test.ts"],
  },
  {
    name: "any-type-read",
    harm: "a weight of integers is taken for floats",
    file: "lib/storage/weights.ts",
    find: "if (problem !== null) throw new UserError(problem);",
    replace: 'if (problem === "") throw new UserError(problem);',
    tests: ["tests/unit/storage/weights_test.ts"],
  },
  {
    name: "vectors-as-columns",
    harm: "norms have the wrong shape",
    file: "lib/storage/weights.ts",
    find: "[1, ...entry.shape] : entry.shape",
    replace: "[...entry.shape, 1] : entry.shape",
    tests: ["tests/unit/storage/weights_test.ts"],
  },
];
