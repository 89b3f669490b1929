// SPDX-License-Identifier: Apache-2.0
/** Sizes and modes of the sparse adapter: published defaults, and every mistake found at once. */
import { didYouMean } from "../../core/suggestion.ts";
import type { Gate, Scope } from "../../ops/kernels/rows.ts";
import { nearestDivisors, nearestMultiples } from "./divisors.ts";

/** Choices of the sparse adapter; what is left out takes the published value. */
export interface SparseOptions {
  /** r: key-value pairs in each layer. Default 4096. */
  readonly neurons?: number;
  /** N: Key-Experts. Must divide `neurons`. Default: the divisor nearest to 4 sqrt(r), 256 for 4096. */
  readonly experts?: number;
  /** k_e: experts a token looks into. Default 8, or N if that is less. */
  readonly activeExperts?: number;
  /** K: neurons a token may fire; may exceed what its experts hold. Default 64, or r if that is less. */
  readonly topK?: number;
  /** How a router logit scales the scores of its expert. Default `raw`, as published. */
  readonly gate?: Gate;
  /** Whose neurons a token uses: its own, or the union over the micro-batch. Default `token`. */
  readonly scope?: Scope;
  /** Default `trained`. */
  readonly keys?: "trained" | "frozen";
  /** Router start: `keys` is `routerScale` times the mean key of the expert (published), `random` as the keys. */
  readonly routerInit?: "keys" | "random";
  /** Default 50. */
  readonly routerScale?: number;
  /** Standard deviation of the keys at the start. Default: the model's `initializer_range`, usually 0.02. */
  readonly initStd?: number;
}

/** {@linkcode SparseOptions}, all decided. */
export type SparseSettings = Required<SparseOptions>;

/** Values of the options that are words. */
export const SPARSE_CHOICES = {
  gate: ["raw", "softmax", "sigmoid", "none"],
  scope: ["token", "union"],
  keys: ["trained", "frozen"],
  routerInit: ["keys", "random"],
} as const;

const COUNTS = ["neurons", "experts", "activeExperts", "topK"] as const;
const NUMBERS = ["routerScale", "initStd"] as const;

/** Names of all options. */
const SPARSE_OPTION_NAMES: readonly string[] = [...COUNTS, ...Object.keys(SPARSE_CHOICES), ...NUMBERS];

/** The published number of experts, 4 sqrt(r), moved to the nearest divisor of r (the smaller of two). */
export function defaultExperts(neurons: number): number {
  return nearestDivisors(neurons, 4 * Math.sqrt(neurons))[0] as number;
}

/** Decides all options. Problems: one sentence each, with the nearest values that are right. */
export function resolveSparse(
  options: SparseOptions,
  initializerRange: number,
): { settings: SparseSettings; problems: string[] } {
  const problems = Object.keys(options)
    .filter((name) => !SPARSE_OPTION_NAMES.includes(name))
    .map((name) => `"${name}" is no option of the sparse adapter${didYouMean(name, SPARSE_OPTION_NAMES)}`);
  const neurons = options.neurons ?? 4096;
  const validNeurons = isCount(neurons);
  const experts = options.experts ?? (validNeurons ? defaultExperts(neurons) : 1);
  const settings: SparseSettings = {
    neurons,
    experts,
    activeExperts: options.activeExperts ?? Math.min(8, experts),
    topK: options.topK ?? Math.min(64, neurons),
    gate: options.gate ?? "raw",
    scope: options.scope ?? "token",
    keys: options.keys ?? "trained",
    routerInit: options.routerInit ?? "keys",
    routerScale: options.routerScale ?? 50,
    initStd: options.initStd ?? initializerRange,
  };
  for (const name of COUNTS) {
    if (!isCount(settings[name])) {
      problems.push(`${name} is ${settings[name]}, expected a whole number of at least 1`);
    }
  }
  for (const name of NUMBERS) {
    if (!Number.isFinite(settings[name])) problems.push(`${name} is ${settings[name]}, expected a number`);
  }
  for (const [name, values] of Object.entries(SPARSE_CHOICES)) {
    const value = settings[name as keyof typeof SPARSE_CHOICES];
    if (!(values as readonly string[]).includes(value)) {
      problems.push(`${name} is "${value}", expected ${values.join(", ")}`);
    }
  }
  if (COUNTS.every((name) => isCount(settings[name]))) problems.push(...relationProblems(settings));
  return { settings, problems };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}

function relationProblems({ neurons, experts, activeExperts, topK }: SparseSettings): string[] {
  const problems: string[] = [];
  if (neurons % experts !== 0) {
    const divisors = nearestDivisors(neurons, experts).toSorted((a, b) => a - b).join(" or ");
    const multiples = nearestMultiples(neurons, experts).join(" or ");
    problems.push(
      `experts is ${experts}, which does not divide neurons = ${neurons}: ` +
        `use experts ${divisors} with ${neurons} neurons, or neurons ${multiples} with ${experts} experts`,
    );
  }
  if (activeExperts > experts) {
    problems.push(
      `activeExperts is ${activeExperts}, but there are only ${experts} experts: use at most ${experts}`,
    );
  }
  if (topK > neurons) {
    problems.push(`topK is ${topK}, but there are only ${neurons} neurons: use at most ${neurons}`);
  }
  return problems;
}
