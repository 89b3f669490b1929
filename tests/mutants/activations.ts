// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/activations. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const ACTIVATIONS: readonly Mutant[] = [
  {
    name: "frozen-steps-trained",
    harm: "frozen layers are run backward",
    file: "lib/activations/policy.ts",
    find: "const count = first < 0 ? steps.length : first;",
    replace: "const count = first < 0 ? steps.length : 0;",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "one-output-for-all",
    harm: "a layer overwrites what it reads",
    file: "lib/activations/policy.ts",
    find: "outputs[i % 2 as 0 | 1]",
    replace: "outputs[0 as 0 | 1]",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "scratch-of-steps-kept",
    harm: "an evaluation takes memory for every layer",
    file: "lib/activations/policy.ts",
    find: `    await step.forward(x, y);
    releaseBoth(k, mark);
`,
    replace: `    await step.forward(x, y);
    void mark;
`,
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "copies-under-way",
    harm: "memory is given back while copies still write to it",
    file: "lib/activations/policy.ts",
    find: `    await Promise.resolve(k.link.reset()).catch(() => {});
`,
    replace: "",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "failed-step-leaks",
    harm: "every step that fails takes memory for good",
    file: "lib/activations/policy.ts",
    find: `  } finally {
    releaseBoth(k, mark);
`,
    replace: `  } finally {
    void mark;
`,
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "lent-too-early",
    harm: "activations lie where a layer's gradient is written",
    file: "lib/activations/policy.ts",
    find: "idle.untilBackward(step - 1)",
    replace: "idle.untilBackward(step)",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "gradient-not-cleared",
    harm: "gradients begin with what activations left there",
    file: "lib/activations/policy.ts",
    find: `      idle.beforeBackward(step);
`,
    replace: "",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "first-answer-forgotten",
    harm: "the host computes twice what it has kept",
    file: "lib/activations/recompute.ts",
    find: "step.forward(input, streamsLike(k, input), first)",
    replace: "step.forward(input, streamsLike(k, input))",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "wrong-input-again",
    harm: "layers are recomputed from another layer's input",
    file: "lib/activations/recompute.ts",
    find: "input: x, first",
    replace: "input: y, first",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "nothing-saved-by-recomputing",
    harm: "recompute takes as much memory as store",
    file: "lib/activations/recompute.ts",
    find: "if (!isKeptWhole(i)) k.arena.release(inside);",
    replace: "void inside;",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "backward-from-below",
    harm: "gradients of layers are taken in the wrong order",
    file: "lib/activations/store.ts",
    find: "[...trained.entries()].reverse()",
    replace: "[...trained.entries()]",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "last-step-run-again",
    harm: "recompute runs a step again whose activations are still there",
    file: "lib/activations/recompute.ts",
    find: "isKeptWhole(i) ? first : await",
    replace: "false ? first : await",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
  {
    name: "anchors-by-depth",
    harm: "what is remembered of layers that are undone grows with their number",
    file: "lib/activations/reversible.ts",
    find: "Math.max(1, wholeFrom / ANCHORS)",
    replace: "2",
    tests: ["tests/unit/activations/policy_test.ts"],
  },
];
