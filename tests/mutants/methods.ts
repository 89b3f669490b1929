// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/methods. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const METHODS: readonly Mutant[] = [
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
    find: "optimizer: { lr },\n    activations: DEFAULT_ACTIVATIONS",
    replace: 'optimizer: { lr },\n    activations: "recompute"',
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "options-of-a-method-lost",
    harm: "options on the command line change nothing",
    file: "lib/methods/methods.ts",
    find: "adapter: { ...method.adapter, options }",
    replace: "adapter: { options: {}, ...method.adapter }",
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
