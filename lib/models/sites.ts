// SPDX-License-Identifier: Apache-2.0
/** Places of a layer where an adapter may attach to one weight: its input and its output are seen there. */

/** Sites of the families there are, in the order they compute in. */
export const LINEAR_SITES: readonly string[] = ["q", "k", "v", "o", "gate", "up", "down"];

/** Name of a site. */
export type LinearSite = string;
