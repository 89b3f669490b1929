// SPDX-License-Identifier: Apache-2.0
/** The activation policies there are: adding one is one file and one line here. */
import type { ActivationPolicy } from "./policy.ts";
import { recompute } from "./recompute.ts";
import { store } from "./store.ts";

/** Policies by name: each keeps less than the one before it, and computes more. The first is what a run takes by itself. */
export const ACTIVATION_POLICIES = {
  store,
  recompute,
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

/** Those that keep less than one, the nearest first. */
export function leanerActivations(than: ActivationPolicyName): readonly ActivationPolicyName[] {
  return ACTIVATION_NAMES.slice(ACTIVATION_NAMES.indexOf(than) + 1);
}
