// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/methods. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const METHODS: readonly Mutant[] = [
  {
    name: "full-at-the-rate-of-adapters",
    harm: "full fine-tuning diverges",
    file: "lib/methods/full.ts",
    find: "optimizer: { lr: 1e-5 }",
    replace: "optimizer: { lr: 1e-4 }",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "recompute-by-default",
    harm: "training is slower than published",
    file: "lib/methods/sparse.ts",
    find: 'activations: "store"',
    replace: 'activations: "recompute"',
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "options-of-a-method-lost",
    harm: "options on the command line change nothing",
    file: "lib/methods/registry.ts",
    find: "adapter: { ...method.adapter, options }",
    replace: "adapter: { options: {}, ...method.adapter }",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "names-of-all-objects",
    harm: 'the method "constructor" is no mistake',
    file: "lib/methods/registry.ts",
    find: "Object.hasOwn(METHODS, name) ? METHODS[name] : undefined",
    replace: "METHODS[name]",
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "dense-for-sparse",
    harm: "the sparse method trains a dense adapter",
    file: "lib/methods/sparse.ts",
    find: 'kind: "sparse"',
    replace: 'kind: "parallel"',
    tests: ["tests/unit/methods/methods_test.ts"],
  },
  {
    name: "options-shared",
    harm: "a method changes with the options of the caller",
    file: "lib/methods/lora.ts",
    find: "options: { ...options }",
    replace: 'options: options as Method["adapter"]["options"]',
    tests: ["tests/unit/methods/methods_test.ts"],
  },
];
