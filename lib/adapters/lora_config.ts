// SPDX-License-Identifier: Apache-2.0
/** Sizes and modes of LoRA, by PEFT's defaults where they are not the paper's; every mistake found at once. */
import { didYouMean } from "../core/suggestion.ts";
import { LINEAR_SITES, type LinearSite } from "../models/sites.ts";

/** Choices of LoRA. */
export interface LoraOptions {
  /** R: rank of every delta. Default 8. */
  readonly rank?: number;
  /** The delta is scaled by alpha / rank. Default 16. */
  readonly alpha?: number;
  /** Share of a weight's inputs that the delta does not see in a training step. Default 0. */
  readonly dropout?: number;
  /** Scales by alpha / sqrt(rank) instead, so that the rank does not change the size of updates. Default false. */
  readonly useRslora?: boolean;
  /** The weights that get a delta, in every layer. Default "all". */
  readonly targets?: "all" | readonly LinearSite[];
}

/** {@linkcode LoraOptions}, all decided. */
export interface LoraSettings {
  readonly rank: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly useRslora: boolean;
  /** In the order of `LINEAR_SITES`. */
  readonly targets: readonly LinearSite[];
}

/** Names of all options. */
const OPTION_NAMES = ["rank", "alpha", "dropout", "useRslora", "targets"];

/** Decides all options. Problems: one sentence each. They may come from a file: types are checked too. */
export function resolveLora(options: LoraOptions): { settings: LoraSettings; problems: string[] } {
  const problems = Object.keys(options)
    .filter((name) => !OPTION_NAMES.includes(name))
    .map((name) => `"${name}" is no option of LoRA${didYouMean(name, OPTION_NAMES)}`);
  const { rank = 8, alpha = 16, dropout = 0, useRslora = false, targets = "all" } = options;
  const check = (ok: boolean, name: string, value: unknown, expected: string): void => {
    if (!ok) problems.push(`${name} is ${JSON.stringify(value)}, expected ${expected}`);
  };
  check(Number.isSafeInteger(rank) && rank >= 1, "rank", rank, "a whole number of at least 1");
  check(Number.isFinite(alpha) && alpha > 0, "alpha", alpha, "a number above 0");
  check(
    Number.isFinite(dropout) && dropout >= 0 && dropout < 1,
    "dropout",
    dropout,
    "a number from 0 to below 1",
  );
  check(typeof useRslora === "boolean", "useRslora", useRslora, "true or false");
  const settings = { rank, alpha, dropout, useRslora, targets: readTargets(targets, problems) };
  return { settings, problems };
}

/** @mutates problems */
function readTargets(targets: unknown, problems: string[]): readonly LinearSite[] {
  const named = targets === "all" || (Array.isArray(targets) && targets.length === 1 && targets[0] === "all")
    ? LINEAR_SITES
    : targets;
  const known = LINEAR_SITES.join(", ");
  if (!Array.isArray(named) || named.length === 0) {
    problems.push(`targets is ${JSON.stringify(targets)}, expected "all" or some of ${known}`);
    return [];
  }
  for (const name of named) {
    if (!LINEAR_SITES.includes(name)) {
      problems.push(`target ${JSON.stringify(name)} is unknown, expected "all" or some of ${known}`);
    }
  }
  return LINEAR_SITES.filter((site) => named.includes(site));
}

/** What a delta B A is multiplied by. */
export function loraScale({ alpha, rank, useRslora }: LoraSettings): number {
  return alpha / (useRslora ? Math.sqrt(rank) : rank);
}
