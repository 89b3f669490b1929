// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/core. */
import type { Mutant } from "./mutant.ts";

/** See {@linkcode Mutant}. */
export const CORE: readonly Mutant[] = [
  {
    name: "next-job-before-the-result",
    harm: "an update that nobody waits for delays the model's next pass",
    file: "lib/core/job_queue.ts",
    find: `    result.then(ended, ended);
    return result;
`,
    replace: `    return result.finally(ended);
`,
    tests: ["tests/unit/core/turns_test.ts"],
  },
  {
    name: "waiting-jobs-not-counted",
    harm: "a job overtakes those that wait",
    file: "lib/core/job_queue.ts",
    find: `    return new Promise<T>((resolve, reject) => {
      pending++;
`,
    replace: `    return new Promise<T>((resolve, reject) => {
`,
    tests: ["tests/unit/core/turns_test.ts"],
  },
  {
    name: "later-before-first",
    harm: "updates delay the passes of the model",
    file: "lib/core/job_queue.ts",
    find: "first.shift() ?? later.shift()",
    replace: "later.shift() ?? first.shift()",
    tests: ["tests/unit/core/job_queue_test.ts"],
  },
  {
    name: "turns-by-chance",
    harm: "two halves of a micro-batch add gradients in an order of chance",
    file: "lib/core/baton.ts",
    find: "    begin.then(() => run(1, second)),",
    replace: "    run(1, second),",
    tests: ["tests/unit/core/turns_test.ts"],
  },
  {
    name: "second-failure-told",
    harm: "a step that failed says that its other half was abandoned",
    file: "lib/core/baton.ts",
    find: "failures.find((failure) => !(failure instanceof Abandoned)) ?? failures[0]",
    replace: "failures.at(-1)",
    tests: ["tests/unit/core/turns_test.ts"],
  },
  {
    name: "microtask-is-no-turn",
    harm: "signals and charts are not heard before a run ends",
    file: "lib/core/event_loop.ts",
    find: "setTimeout(() => {",
    replace: "queueMicrotask(() => {",
    tests: ["tests/unit/core/turns_test.ts"],
  },
  {
    name: "missing-keys-are-alike",
    harm: "a setting that is left out counts as unchanged",
    file: "lib/core/json.ts",
    find: "[...new Set([...Object.keys(before), ...Object.keys(after)])]",
    replace: "Object.keys(before)",
    tests: ["tests/unit/core/values_test.ts"],
  },
  {
    name: "ninth-key-forgotten",
    harm: "of objects with more than eight keys, one may stand twice",
    file: "lib/core/json_text.ts",
    find: "    keys = value.keys = new Set(keys);",
    replace: "    keys = value.keys = new Set();",
    tests: ["tests/unit/core/values_test.ts"],
  },
  {
    name: "depth-one-more",
    harm: "texts of endless depth end the process",
    file: "lib/core/json_text.ts",
    find: "open.length > limits.depth",
    replace: "open.length > limits.depth + 1",
    tests: ["tests/unit/core/values_test.ts"],
  },
  {
    name: "block-index-wraps",
    harm: "random numbers repeat after 2^34 of them",
    file: "lib/core/rng.ts",
    find: "Math.floor(index / 2 ** 32), part, domain]",
    replace: "0, part, domain]",
    tests: ["tests/unit/core/rng_test.ts"],
  },
  {
    name: "one-domain-for-all",
    harm: "the order of the data follows the same words as its draws",
    file: "lib/core/rng.ts",
    find: "permutation: 1, stream: 2",
    replace: "permutation: 2, stream: 2",
    tests: ["tests/unit/core/rng_test.ts"],
  },
  {
    name: "seed-for-stream",
    harm: "keys and values start as the same numbers",
    file: "lib/core/rng.ts",
    find: "philox4x32([seed >>> 0, stream >>> 0], counter)",
    replace: "philox4x32([seed >>> 0, seed >>> 0], counter)",
    tests: ["tests/unit/core/rng_test.ts"],
  },
  {
    name: "small-numbers-favoured",
    harm: "draws among many prefer the first ones",
    file: "lib/core/rng.ts",
    find: "    if (x < limit) return x % n;",
    replace: "    return x % n + 0 * limit;",
    tests: ["tests/unit/core/rng_test.ts"],
  },
  {
    name: "ties-away-from-even",
    harm: "bf16 weights drift upwards",
    file: "lib/core/half.ts",
    find: "((u + 0x7fff + ((u >>> 16) & 1)) >>> 16)",
    replace: "((u + 0x8000) >>> 16)",
    tests: ["tests/unit/core/half_test.ts"],
  },
  {
    name: "largest-refused",
    harm: "the largest number of a range is refused",
    file: "lib/core/shape.ts",
    find: "value <= max",
    replace: "value < max",
    tests: ["tests/unit/core/values_test.ts"],
  },
];
