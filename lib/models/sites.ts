// SPDX-License-Identifier: Apache-2.0
/** Places of a layer where an adapter may attach to one weight: its input and its output are seen there. */

/** Sites by the name of their weight in `LayerWeights`, in the order they compute in. */
export const LINEAR_SITES = ["q", "k", "v", "o", "gate", "up", "down"] as const;

/** One of {@linkcode LINEAR_SITES}. */
export type LinearSite = typeof LINEAR_SITES[number];
