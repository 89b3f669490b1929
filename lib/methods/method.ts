// SPDX-License-Identifier: Apache-2.0
/** The contract of a method: a published name for a composition of adapter, optimizer and the rest of a run. */
import type { AdapterSpec } from "../adapters/registry.ts";
import type { AdamwOptions } from "../optim/adamw.ts";

/** What a method decides; the user's own choices win. */
export interface Method {
  readonly name: string;
  /** One sentence, for people who choose. */
  readonly summary: string;
  readonly adapter: AdapterSpec;
  /** Defaults of the optimizer. */
  readonly optimizer: AdamwOptions;
  /** Activation policy by default: what is remembered for backward. */
  readonly activations: "store" | "recompute";
}
