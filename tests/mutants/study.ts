// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/study. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const STUDY: readonly Mutant[] = [
  {
    name: "csv-drops-maps",
    harm: "cells that differ in a rank pattern alone look the same in results.csv",
    file: "lib/study/results.ts",
    find: "{ ...Object.fromEntries(plain), ...settings }",
    replace:
      "{ ...Object.fromEntries(plain), ...Object.fromEntries(Object.entries(settings).filter(([, v]) => isPlain(v))) }",
    tests: ["tests/unit/study/results_test.ts"],
  },
];
