// SPDX-License-Identifier: Apache-2.0
/** The activation policies there are: adding one is one file and one line here. */
import type { ActivationPolicy } from "./policy.ts";
import { recompute } from "./recompute.ts";
import { reversible } from "./reversible.ts";
import { store } from "./store.ts";

/** Policies by name: each keeps less than the one before it, and computes more. The first is what a run takes by itself. */
export const ACTIVATION_POLICIES = {
  store,
  recompute,
  reversible,
} satisfies Record<string, ActivationPolicy>;

/** Name of an activation policy. */
export type ActivationPolicyName = keyof typeof ACTIVATION_POLICIES;

/** All of them. */
export const ACTIVATION_NAMES = Object.keys(ACTIVATION_POLICIES) as [
  ActivationPolicyName,
  ...ActivationPolicyName[],
];

/** What a run takes by itself: the fastest. */
export const DEFAULT_ACTIVATIONS: ActivationPolicyName = ACTIVATION_NAMES[0];

/** Those that a run can take. @param undoable Whether its steps can be undone */
export function possibleActivations(undoable: boolean): readonly ActivationPolicyName[] {
  return ACTIVATION_NAMES.filter((name) => undoable || !ACTIVATION_POLICIES[name].undoes);
}

/** Those that keep less than one, the nearest first. @param undoable Whether the steps of the run can be undone */
export function leanerActivations(
  than: ActivationPolicyName,
  undoable: boolean,
): readonly ActivationPolicyName[] {
  const possible = possibleActivations(undoable);
  return possible.slice(possible.indexOf(than) + 1);
}

/** What runs steps that cannot be undone, of a pass for which a policy is chosen: that itself, or the leanest there is for them. */
export function plainPolicy(chosen: ActivationPolicyName): ActivationPolicy {
  const possible = possibleActivations(false);
  return ACTIVATION_POLICIES[possible.includes(chosen) ? chosen : possible.at(-1) as ActivationPolicyName];
}
