// SPDX-License-Identifier: Apache-2.0
/** The activation policies there are: adding one is one file and one line here. */
import type { ActivationPolicy } from "./policy.ts";
import { recomputeActivations } from "./recompute.ts";
import { storeActivations } from "./store.ts";

/** Policies by name. */
export const ACTIVATION_POLICIES = {
  store: storeActivations,
  recompute: recomputeActivations,
} satisfies Record<string, ActivationPolicy>;

/** Name of an activation policy. */
export type ActivationPolicyName = keyof typeof ACTIVATION_POLICIES;
