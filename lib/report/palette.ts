// SPDX-License-Identifier: Apache-2.0
/** Colours of drawn values: by day, and what a page exchanges each for by night. Told apart also by the colour-blind. */

/** In the order of series. */
export const SERIES_COLORS = ["#2b6cb0", "#c2410c", "#2f7d4f", "#7e3ca8", "#8a6d00", "#b83280"] as const;

/** The same against a dark page. */
export const DARK_SERIES_COLORS = ["#6cb2f5", "#fb923c", "#6cc890", "#c79af0", "#e0bf4a", "#f08cc4"] as const;

/** Colour of a series by its index. */
export function seriesColor(index: number): string {
  return SERIES_COLORS[index % SERIES_COLORS.length] as string;
}
