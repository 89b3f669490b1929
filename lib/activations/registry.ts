// SPDX-License-Identifier: Apache-2.0
/** The activation policies there are: adding one is one file and one line here. */
import type { ActivationPolicy } from "./policy.ts";
import { recompute } from "./recompute.ts";
import { store } from "./store.ts";

/** Policies by name. */
export const ACTIVATION_POLICIES = {
  store,
  recompute,
} satisfies Record<string, ActivationPolicy>;

/** Name of an activation policy. */
export type ActivationPolicyName = keyof typeof ACTIVATION_POLICIES;

/** All of them. */
export const ACTIVATION_NAMES = Object.keys(ACTIVATION_POLICIES) as readonly ActivationPolicyName[];
