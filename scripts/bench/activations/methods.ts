// SPDX-License-Identifier: Apache-2.0
/** What is trained, and what its steps remember: the same adapters on one stream, and on two that are coupled. */
import type { ActivationPolicyName } from "../../../lib/activations/registry.ts";
import type { CaseMethod } from "../cases.ts";

/** A method of ours, as it remembers. */
export interface StepMethod {
  readonly label: string;
  readonly method: CaseMethod;
  readonly activations: ActivationPolicyName;
  /** Of what is undone; absent where nobody says. */
  readonly anchorEvery?: number;
}

const of = (
  label: string,
  method: "bottleneck" | "meft1" | "meft3",
  activations: ActivationPolicyName,
  anchorEvery?: number,
): StepMethod => ({
  label,
  method: { method, sizes: {} },
  activations,
  ...(anchorEvery !== undefined && { anchorEvery }),
});

/** Farther than there are layers. */
const NEVER = 1000;

/** Those whose activations are counted. */
export const COUNTED_METHODS: readonly StepMethod[] = [
  of("store", "bottleneck", "store"),
  of("recompute", "bottleneck", "recompute"),
  of("meft1", "meft1", "reversible"),
  of("meft3", "meft3", "reversible"),
  ...[1, 2, 3, 4].map((every) => of(`meft1, every ${every}`, "meft1", "reversible", every)),
  of("meft1, no anchors", "meft1", "reversible", NEVER),
];

/** Those whose steps are timed, over the first and over the second of them. */
export const TIMED_METHODS: readonly StepMethod[] = [
  of("store", "bottleneck", "store"),
  of("recompute", "bottleneck", "recompute"),
  of("meft1, stored", "meft1", "store"),
  of("meft1", "meft1", "reversible"),
  of("meft3", "meft3", "reversible"),
  ...[1, 2, 3, 4].map((every) => of(`meft1, every ${every}`, "meft1", "reversible", every)),
  of("meft1, no anchors", "meft1", "reversible", NEVER),
];
