// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/optim. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const OPTIM: readonly Mutant[] = [
  {
    name: "rates-history-forgotten",
    harm: "rows that lagged behind catch up with rates of zero once a run is longer than 64 steps",
    file: "lib/optim/adamw.ts",
    find: `    grown.set(history);
`,
    replace: "",
    tests: ["tests/unit/train/thresholds_test.ts"],
  },
  {
    name: "flush-does-nothing",
    harm: "an exported adapter lacks the steps that its idle rows missed",
    file: "lib/optim/adamw.ts",
    find: `      if (config.mode !== "lazy-exact" || step === 0) return;
`,
    replace: `      if (step >= 0) return;
`,
    tests: ["tests/unit/train/thresholds_test.ts"],
  },
  {
    name: "flush-skips-last-row",
    harm: "the last row of every matrix stays stale",
    file: "lib/optim/adamw.ts",
    find: "all, parameter.matrix.rows, true, adam)",
    replace: "all, parameter.matrix.rows - 1, true, adam)",
    tests: ["tests/unit/train/thresholds_test.ts"],
  },
];
