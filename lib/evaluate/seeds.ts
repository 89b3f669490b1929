// SPDX-License-Identifier: Apache-2.0
/** How sure a mean over seeds is: Student's interval. */
import type { Estimate } from "./metrics.ts";

/**
 * 97.5th percentile of Student's t, for 1 to 30 degrees of freedom; what t exceeds in 2.5 of 100 cases. (The usual table, to
 * the digits that double precision gives.)
 */
const T = [
  12.706204736174705,
  4.302652729749464,
  3.1824463052837095,
  2.7764451051977943,
  2.5705818356363155,
  2.44691185114497,
  2.3646242515927853,
  2.3060041352041667,
  2.2621571627982053,
  2.228138851986275,
  2.2009851600916397,
  2.178812829667229,
  2.1603686564627926,
  2.144786687917804,
  2.1314495455597755,
  2.1199052992212546,
  2.109815577833317,
  2.1009220402410387,
  2.0930240544083096,
  2.085963447265865,
  2.0796138447276804,
  2.0738730679040263,
  2.0686576104190486,
  2.063898561628026,
  2.0595385527532977,
  2.055529438642873,
  2.0518305164802855,
  2.048407141795245,
  2.0452296421327043,
  2.042272456301238,
] as const;

/**
 * Mean of scores in [0, 1], one a seed, with its 95% interval: mean ± t s / sqrt(n), where s is the sample deviation over the
 * seeds and t belongs to n - 1 degrees of freedom, cut to [0, 1]. It says what other seeds would give on the same questions.
 * One seed says nothing of others: the interval is then its own, over the questions.
 */
export function meanOverSeeds(seeds: readonly Estimate[]): Estimate {
  const n = seeds.length;
  if (n === 1) return seeds[0] as Estimate;
  const count = seeds.reduce((sum, seed) => sum + seed.count, 0);
  if (n === 0) return { mean: NaN, low: 0, high: 1, count };
  const mean = seeds.reduce((sum, seed) => sum + seed.mean, 0) / n;
  const half = studentHalf(seeds.map((seed) => seed.mean));
  return { mean, low: Math.max(0, mean - half), high: Math.min(1, mean + half), count };
}

/** Half of the 95% interval of a mean, of two values at least: t s / sqrt(n). */
export function studentHalf(values: readonly number[]): number {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const t = T[Math.min(n - 1, T.length) - 1] as number;
  return t * Math.sqrt(variance / n);
}
