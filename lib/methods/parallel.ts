// SPDX-License-Identifier: Apache-2.0
/** The parallel adapter (He et al., ICLR 2022), the paper's dense rival: with ReLU, as MEFT's dense limit. */
import type { ParallelOptions } from "../adapters/parallel.ts";
import type { Method } from "./method.ts";

/** A dense adapter beside every feed-forward half. */
export function parallel(options: ParallelOptions = {}): Method {
  return {
    name: "parallel",
    summary: "a dense adapter beside every feed-forward half",
    adapter: { kind: "parallel", options: { ...options } },
    optimizer: { lr: 1e-4 },
    activations: "store",
  };
}
