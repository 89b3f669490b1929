// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/tasks. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const TASKS: readonly Mutant[] = [
  {
    name: "pair-in-the-wrong-order",
    harm: "premise and hypothesis change places",
    file: "lib/tasks/labelled_rows.ts",
    find: '["premise", "hypothesis"],',
    replace: '["hypothesis", "premise"],',
    tests: ["tests/unit/tasks/labelled_test.ts"],
  },
  {
    name: "first-text-cut-alone",
    harm: "of two long texts all of the first is cut away",
    file: "lib/tasks/labelled_data.ts",
    find: "keepsShort = Math.floor(room / 2);",
    replace: "keepsShort = Math.floor(room / 3);",
    tests: ["tests/unit/tasks/labelled_test.ts"],
  },
  {
    name: "ties-ranked-apart",
    harm: "Spearman's rho depends on the order of rows",
    file: "lib/tasks/metrics/values.ts",
    find: "const shared = (begin + end + 1) / 2;",
    replace: "const shared = begin + 1;",
    tests: ["tests/unit/tasks/metrics_test.ts"],
  },
  {
    name: "smoothing-once",
    harm: "BLEU of short answers is higher than sacreBLEU's",
    file: "lib/tasks/metrics/bleu.ts",
    find: "if (hits === 0) smoothing *= 2;",
    replace: "if (hits === 0) smoothing = 2;",
    tests: ["tests/unit/tasks/metrics_test.ts"],
  },
  {
    name: "labels-of-the-data-anyway",
    harm: "a model that knows its labels gets others by each data set",
    file: "lib/tasks/classification.ts",
    find: "suits(own) || paths.length === 0",
    replace: "paths.length === 0",
    tests: ["tests/unit/tasks/labelled_test.ts"],
  },
];
