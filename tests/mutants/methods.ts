// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/methods. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const METHODS: readonly Mutant[] = [
  {
    name: "head-rate-at-any-width",
    harm: "the rate of a small encoder's head breaks a large model",
    file: "lib/methods/methods.ts",
    find: "headLr * Math.min(1, SWEPT_WIDTH / hiddenSize)",
    replace: "headLr",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "head-rate-for-none",
    harm: "language models are trained at the rate of an encoder with labels",
    file: "lib/train/plan.ts",
    find: "headModules(model).length > 0);",
    replace: "true);",
    tests: ["tests/unit/train/plan_test.ts"],
  },
  {
    name: "full-at-the-rate-of-adapters",
    harm: "full fine-tuning diverges",
    file: "lib/adapters/full.ts",
    find: "lr: 1e-5",
    replace: "lr: 1e-4",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "recompute-by-default",
    harm: "training is slower than published",
    file: "lib/methods/methods.ts",
    find: "headLr,\n    activations: DEFAULT_ACTIVATIONS",
    replace: 'headLr,\n    activations: "recompute"',
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "options-of-a-method-lost",
    harm: "options on the command line change nothing",
    file: "lib/methods/methods.ts",
    find: "options: { ...own, ...options }",
    replace: "options: { ...own }",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "second-wiring-taken",
    harm: "a method of one wiring trains another without a word",
    file: "lib/methods/methods.ts",
    find: "if (chosen !== value) {",
    replace: "if (chosen === null) {",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "names-of-all-objects",
    harm: 'the method "constructor" is no mistake',
    file: "lib/methods/methods.ts",
    find: "METHODS.get(name)",
    replace: "METHODS.get(name) ?? (Object.prototype as Record<string, unknown>)[name] as Method",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "dense-for-sparse",
    harm: "the sparse method trains a dense adapter",
    file: "lib/methods/methods.ts",
    find: "return methodOf(SPARSE, options)",
    replace: "return methodOf(PARALLEL, options)",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "options-shared",
    harm: "a method changes with the options of the caller",
    file: "lib/methods/methods.ts",
    find: "options: { ...options }",
    replace: 'options: options as Method["adapter"]["options"]',
    tests: ["tests/unit/methods/methods_test.ts"],
  },
];
