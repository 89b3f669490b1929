// SPDX-License-Identifier: Apache-2.0
/** The reference backend: every kernel in plain TypeScript and f64. The oracle of all others, and meant to be read. */
import { createLedger, type Ledger } from "../../native/ledger.ts";
import { composeKernels, type Kernels } from "../kernels/kernels.ts";
import { modelKernels } from "./model_kernels.ts";
import { referencePassMemory, referencePlace } from "./place.ts";
import { rowKernels } from "./row_kernels.ts";

/**
 * Kernels of the reference backend. Weights may be stored in any dtype; everything computed is f64. Slow: for tests,
 * for study, and for models of a few million weights at most.
 */
export function referenceKernels(options: { readonly ledger?: Ledger } = {}): Kernels {
  const ledger = options.ledger ?? createLedger();
  return composeKernels({
    backend: "reference",
    model: modelKernels,
    rows: rowKernels(),
    place: referencePlace(ledger),
    memory: () => referencePassMemory(ledger),
  });
}
