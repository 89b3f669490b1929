// SPDX-License-Identifier: Apache-2.0
/** What is trained, and what its steps remember: the same adapters on one stream, and on two that are coupled. */
import type { ActivationPolicyName } from "../../../lib/activations/registry.ts";
import type { CaseMethod } from "../cases.ts";

/** A method of ours, as it remembers. */
export interface StepMethod {
  readonly label: string;
  readonly method: CaseMethod;
  readonly activations: ActivationPolicyName;
}

const of = (
  label: string,
  method: "bottleneck" | "meft1" | "meft3",
  activations: ActivationPolicyName,
): StepMethod => ({ label, method: { method, sizes: {} }, activations });

/** Those whose activations are counted. */
export const COUNTED_METHODS: readonly StepMethod[] = [
  of("store", "bottleneck", "store"),
  of("recompute", "bottleneck", "recompute"),
  of("reversible, meft1", "meft1", "reversible"),
  of("reversible, meft3", "meft3", "reversible"),
];

/** Those whose steps are timed, over the first and over the second of them. */
export const TIMED_METHODS: readonly StepMethod[] = [
  of("store", "bottleneck", "store"),
  of("recompute", "bottleneck", "recompute"),
  of("meft1, stored", "meft1", "store"),
  of("meft1, recomputed", "meft1", "recompute"),
  of("meft1, reversible", "meft1", "reversible"),
  of("meft3, reversible", "meft3", "reversible"),
];
