// SPDX-License-Identifier: Apache-2.0
/** Medians and their spread. */

/** A measured number over several rounds. */
export interface Summary {
  readonly median: number;
  /** Lower and upper quartile. */
  readonly low: number;
  readonly high: number;
  readonly rounds: number;
}

/** The q-th quantile of values, between neighbours in proportion. NaN of none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const place = (sorted.length - 1) * q;
  const [below, above] = [sorted[Math.floor(place)] ?? NaN, sorted[Math.ceil(place)] ?? NaN];
  return below + (above - below) * (place - Math.floor(place));
}

/** The middle of values. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Median and quartiles. */
export function summarize(values: readonly number[]): Summary {
  return {
    median: median(values),
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
    rounds: values.length,
  };
}

/** The power p of the fit y = c x^p: least squares of the logarithms. NaN when a value is not above 0. */
export function slope(xs: readonly number[], ys: readonly number[]): number {
  const [u, v] = [xs.map(Math.log), ys.map(Math.log)];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [mu, mv] = [mean(u), mean(v)];
  const over = u.reduce((sum, x, i) => sum + (x - mu) * ((v[i] as number) - mv), 0);
  return over / u.reduce((sum, x) => sum + (x - mu) ** 2, 0);
}

/** `123 (118 to 131)`. */
export function formatSummary({ median, low, high }: Summary): string {
  const digits = median < 10 ? 2 : median < 100 ? 1 : 0;
  return `${median.toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`;
}
