// SPDX-License-Identifier: Apache-2.0
/** How long a step will take where all is computed on the CPU. */
import type { MachineRates } from "./machine/rates.ts";
import type { StepWork } from "./work.ts";

/** Milliseconds of a step by part, and together. */
export interface TimeEstimate {
  readonly products: number;
  readonly attention: number;
  readonly adapter: number;
  readonly streams: number;
  readonly update: number;
  readonly stepMs: number;
  readonly tokensPerSecond: number;
}

/** How long a step should take at measured rates: the parts one after the other, as the CPU does them. @param tokens Of the step */
export function estimateStep(work: StepWork, tokens: number, rates: MachineRates): TimeEstimate {
  const products = 1000 *
    (work.linearForward / rates.linearForward + work.linearBackward / rates.linearBackward);
  const attention = 1000 * work.attention / rates.attention;
  const adapter = 1000 * work.adapter / (rates.sparse ?? rates.linearForward);
  const streams = 1000 * work.streamBytes / rates.bandwidth;
  const update = 1000 * work.updateBytes / rates.bandwidth;
  const stepMs = products + attention + adapter + streams + update;
  return {
    products,
    attention,
    adapter,
    streams,
    update,
    stepMs,
    tokensPerSecond: 1000 * tokens / stepMs,
  };
}
