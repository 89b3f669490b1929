// SPDX-License-Identifier: Apache-2.0
/** Wrong changes of lib/jinja. */
import type { Mutant } from "./mutant.ts";

const CORPUS = ["tests/unit/jinja/corpus_test.ts"];
const WRITTEN = ["tests/unit/jinja/template_test.ts"];

/** See {@linkcode Mutant}. */
export const JINJA: readonly Mutant[] = [
  {
    name: "negative-index-cut",
    harm: "messages[-2:] is the whole conversation",
    file: "lib/jinja/slice.ts",
    find: "index < 0 ? index + length : index",
    replace: "index < 0 ? 0 : index",
    tests: CORPUS,
  },
  {
    name: "reversed-without-first",
    harm: "messages[::-1] loses the first turn",
    file: "lib/jinja/slice.ts",
    find: "[-1, length - 1]",
    replace: "[0, length - 1]",
    tests: CORPUS,
  },
  {
    name: "step-of-characters-lost",
    harm: "a text cut in steps is whole",
    file: "lib/jinja/slice.ts",
    find: "i += step) taken += points[i];",
    replace: "i += 1) taken += points[i];",
    tests: CORPUS,
  },
  {
    name: "previtem-is-this",
    harm: "templates that look at the turn before see another",
    file: "lib/jinja/loop_state.ts",
    find: "    this.before = this.current;\n",
    replace: "",
    tests: CORPUS,
  },
  {
    name: "looked-at-item-uncounted",
    harm: "loop.length of a filtered loop is one too small",
    file: "lib/jinja/loop_state.ts",
    find: " + (this.after === undefined ? 0 : 1)",
    replace: "",
    tests: WRITTEN,
  },
  {
    name: "index-from-zero",
    harm: "loop.index and what is numbered by it begin at 0",
    file: "lib/jinja/loop_state.ts",
    find: "    return this.index0 + 1;\n",
    replace: "    return this.index0;\n",
    tests: CORPUS,
  },
  {
    name: "range-one-too-short",
    harm: "a range of the most numbers is refused",
    file: "lib/jinja/globals.ts",
    find: "made.length > MAX_RANGE",
    replace: "made.length >= MAX_RANGE",
    tests: WRITTEN,
  },
  {
    name: "range-from-one",
    harm: "range(n) begins at 1",
    file: "lib/jinja/globals.ts",
    find: "? [0, numbers[0], 1]",
    replace: "? [1, numbers[0], 1]",
    tests: CORPUS,
  },
  {
    name: "half-away-from-zero",
    harm: "25|round(-1) is 30, Jinja2's is 20",
    file: "lib/jinja/filters_numbers.ts",
    find: "(twice === unit && low % 2n !== 0n)",
    replace: "twice === unit",
    tests: WRITTEN,
  },
  {
    name: "float-of-text-is-nothing",
    harm: "a text that is no number has no default",
    file: "lib/jinja/filters_numbers.ts",
    find: "return double === null ? otherwise : new Float(double);",
    replace: "return double === null ? new Float(0) : new Float(double);",
    tests: CORPUS,
  },
];
