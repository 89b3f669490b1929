// SPDX-License-Identifier: Apache-2.0
/**
 * Limits on what a template may cost, counted, never timed, so that the same template fails at the same place everywhere.
 * Rendering is synchronous: one meter, set when a rendering starts, serves every function below it.
 */
import { JinjaError } from "./errors.ts";

/** What one rendering may use. */
export interface JinjaLimits {
  /** Evaluation steps: about one a statement, a call, a round of a loop, 4 items copied or 32 characters read. */
  readonly steps: number;
  /** Further steps for each message, tool or other item of a list that the template is given. */
  readonly stepsPerItem: number;
  /** Characters of any one string, the output included. */
  readonly characters: number;
  /** Calls of macros and recursive loops within each other. */
  readonly depth: number;
}

/**
 * Enough for any template over 10,000 long messages, even one that looks at all later messages for each of them (as that
 * of gpt-oss does); reached by an endless one in about a second.
 */
export const DEFAULT_LIMITS: JinjaLimits = {
  steps: 10_000_000,
  stepsPerItem: 6000,
  characters: 2 ** 28,
  depth: 200,
};

/** Values within values that are printed, compared or converted. Python's own limit is near it. */
const MAX_NESTING = 900;

/** Bits of the largest integer: far more than can be printed, few enough that none takes long. */
export const MAX_INTEGER_BITS = 2 ** 18;

let limits = DEFAULT_LIMITS;
/** Steps of the rendering, and those that are left of them. */
let budget = Infinity;
let stepsLeft = Infinity;
let depth = 0;

/** Takes steps from the budget. */
export function spend(steps: number): void {
  stepsLeft -= steps;
  if (stepsLeft < 0) {
    throw new JinjaError(
      "LimitError",
      `the template takes more than ${budget} steps, the limit of one rendering: a loop in it is too long`,
    );
  }
}

/** Takes what it costs to read or copy characters, and checks the length of one string. */
export function spendCharacters(count: number): void {
  if (count > limits.characters) {
    throw new JinjaError(
      "LimitError",
      `the template makes a string of ${count} characters, more than ${limits.characters}, the limit of one string`,
    );
  }
  spend(count / 32);
}

/** What it costs to read a text that is short as a rule. */
export function spendText(text: string): void {
  if (text.length > 128) spendCharacters(text.length);
}

/** Checks the length of a string that costs nothing to make (V8 joins strings lazily). */
export function checkLength(count: number): void {
  if (count > limits.characters) spendCharacters(count);
}

/** Items of any one list: more than any template needs, and far less than memory holds. */
const MAX_ITEMS = 2 ** 22;

/** Takes what it costs to copy or compare items, and checks the length of one list. */
export function spendItems(count: number): void {
  if (count > MAX_ITEMS) {
    throw new JinjaError(
      "LimitError",
      `the template makes a list of ${count} items, more than ${MAX_ITEMS}, the limit of one list`,
    );
  }
  spend(count / 4);
}

/** Adds the steps that a list handed to the template allows. */
export function allowForItems(count: number): void {
  budget += count * limits.stepsPerItem;
  stepsLeft += count * limits.stepsPerItem;
}

/** Runs a call one level deeper. */
export function deeper<T>(run: () => T): T {
  if (depth >= limits.depth) {
    throw new JinjaError(
      "LimitError",
      `the template calls macros or loops within each other more than ${limits.depth} deep, the limit of one rendering`,
    );
  }
  depth++;
  try {
    return run();
  } finally {
    depth--;
  }
}

/** Checks the nesting of a value. */
export function checkNesting(level: number): void {
  if (level > MAX_NESTING) {
    throw new JinjaError(
      "LimitError",
      `a value is nested more than ${MAX_NESTING} deep, the limit of one value`,
    );
  }
}

/** Runs a rendering under limits of its own, and puts back those of a rendering around it. */
export function metered<T>(own: JinjaLimits, run: () => T): T {
  const around = { limits, budget, stepsLeft, depth };
  limits = own;
  budget = stepsLeft = own.steps;
  depth = 0;
  try {
    return run();
  } finally {
    limits = around.limits;
    ({ budget, stepsLeft } = around);
    depth = around.depth;
  }
}
