// SPDX-License-Identifier: Apache-2.0
/** Sizes and modes of the sparse adapter: published defaults, and every mistake found at once. */
import { optionProblems, unknownOptions, withDefaults } from "../../core/option_checks.ts";
import { choice, type DecidedOptions, integer, number, type OptionsOf } from "../../core/options.ts";
import { INIT_STD, neuronsOption } from "../neuron_options.ts";
import { nearestDivisors, nearestMultiples } from "./divisors.ts";

/** Choices of the sparse adapter; what is left out takes the published value. */
export const SPARSE_OPTIONS = {
  /** r: key-value pairs in each layer. Default 4096. */
  neurons: neuronsOption(4096),
  /** N: Key-Experts. Must divide `neurons`. Default: the divisor nearest to 4 sqrt(r), 256 for 4096. */
  experts: integer({
    min: 1,
    defaultText: "4 * sqrt(neurons)",
    help: "Key-Experts that the neurons are divided into (N)",
    axis: "N, Key-Experts",
    size: true,
    always: true,
  }),
  /** k_e: experts a token looks into. Default 8, or N if that is less. */
  activeExperts: integer({
    min: 1,
    default: 8,
    help: "experts the router picks for each token (k_e)",
    axis: "k_e, experts of a token",
    always: true,
  }),
  /** K: neurons a token may fire; may exceed what its experts hold. Default 64, or r if that is less. */
  topK: integer({
    min: 1,
    default: 64,
    help: "neurons a token uses (K)",
    axis: "K, neurons a token may fire",
    always: true,
  }),
  /** How a router logit scales the scores of its expert. Default `raw`, as published. */
  gate: choice(["raw", "softmax", "sigmoid", "none"], {
    default: "raw",
    help: "how a router logit scales its expert's neurons",
    always: true,
  }),
  /** Whose neurons a token uses: its own, or the union over the micro-batch. Default `token`. */
  scope: choice(["token", "union"], {
    default: "token",
    help: "a token uses its own neurons, or those of the whole micro-batch",
    always: true,
  }),
  /** Whether keys are trained. Default `trained`. */
  keys: choice(["trained", "frozen"], { default: "trained", help: "whether keys are trained", always: true }),
  /** Router start: `keys` is `routerScale` times the mean key of the expert (published), `random` as the keys. Default `keys`. */
  routerInit: choice(["keys", "random"], {
    default: "keys",
    help: "start of the router: from the keys of each expert, or random as they are",
    setting: null,
    always: true,
  }),
  /** What the mean key is multiplied by for a router that starts from `keys`. Default 50. */
  routerScale: number({
    default: 50,
    help: "the router starts with this times the mean key",
    setting: null,
    always: true,
  }),
  /** Standard deviation of the keys at the start. Default: the model's `initializer_range`, usually 0.02. */
  initStd: INIT_STD,
} as const;

/** Choices of the sparse adapter; what is left out takes the published value. */
export type SparseOptions = OptionsOf<typeof SPARSE_OPTIONS>;

/** {@linkcode SparseOptions}, all decided. */
export type SparseSettings = DecidedOptions<typeof SPARSE_OPTIONS>;

/** The published number of experts, 4 sqrt(r), moved to the nearest divisor of r (the smaller of two). */
export function defaultExperts(neurons: number): number {
  return nearestDivisors(neurons, 4 * Math.sqrt(neurons))[0] as number;
}

/** Decides all options. Problems: one sentence each, with the nearest values that are right. */
export function resolveSparse(
  options: SparseOptions,
  initializerRange: number,
): { settings: SparseSettings; problems: string[] } {
  const chosen = withDefaults(SPARSE_OPTIONS, options);
  const { neurons } = chosen;
  const experts = options.experts ?? (isCount(neurons) ? defaultExperts(neurons) : 1);
  const settings: SparseSettings = {
    ...chosen,
    experts,
    activeExperts: options.activeExperts ?? Math.min(chosen.activeExperts, experts),
    topK: options.topK ?? Math.min(chosen.topK, neurons),
    initStd: options.initStd ?? initializerRange,
  };
  const problems = [
    ...unknownOptions(SPARSE_OPTIONS, options, "the sparse adapter"),
    ...optionProblems(SPARSE_OPTIONS, settings),
  ];
  const { activeExperts, topK } = settings;
  if ([neurons, experts, activeExperts, topK].every(isCount)) problems.push(...relationProblems(settings));
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
