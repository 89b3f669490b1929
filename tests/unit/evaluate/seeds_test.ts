// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { Estimate } from "../../../lib/evaluate/metrics.ts";
import { meanOverSeeds } from "../../../lib/evaluate/seeds.ts";

const seed = (mean: number): Estimate => ({ mean, low: mean - 0.1, high: mean + 0.1, count: 50 });

/** Area from 0 to t under Student's density with v degrees of freedom, up to its constant, by Simpson's rule. */
function area(t: number, v: number, pieces = 20_000): number {
  const density = (x: number) => (1 + x * x / v) ** (-(v + 1) / 2);
  const h = t / pieces;
  let sum = density(0) + density(t);
  for (let i = 1; i < pieces; i++) sum += density(i * h) * (i % 2 === 1 ? 4 : 2);
  return sum * h / 3;
}

/** The factor t that the interval of n seeds was made with. */
function factor(n: number): number {
  const scores = Array.from({ length: n }, (_, i) => 0.5 + 1e-3 * (i % 2));
  const { mean, high } = meanOverSeeds(scores.map(seed));
  const variance = scores.reduce((sum, score) => sum + (score - mean) ** 2, 0) / (n - 1);
  return (high - mean) / Math.sqrt(variance / n);
}

Deno.test("meanOverSeeds() is mean ± t s / sqrt(n) with Student's 97.5th percentile", () => {
  // t of one and two degrees of freedom in closed form: tan(0.475 pi), and 0.95 sqrt(2 / (4 * 0.975 * 0.025)).
  ok(Math.abs(factor(2) - Math.tan(0.475 * Math.PI)) <= 1e-9);
  ok(Math.abs(factor(3) - 0.95 * Math.sqrt(2 / 0.0975)) <= 1e-9);
  const { mean, low, high, count } = meanOverSeeds([0.4, 0.5, 0.6].map(seed));
  const half = 4.302652729749464 * 0.1 / Math.sqrt(3);
  ok(
    Math.abs(mean - 0.5) <= 1e-15 && Math.abs(low - (0.5 - half)) <= 1e-12 &&
      Math.abs(high - (0.5 + half)) <= 1e-12,
  );
  strictEqual(count, 150);
});

Deno.test("meanOverSeeds() takes 47.5 % of Student's density on each side, for every number of seeds up to 31", () => {
  for (let n = 4; n <= 31; n++) {
    const v = n - 1;
    // The whole half: substitute x = sqrt(v) tan(u), which leaves cos(u)^(v-1).
    const half = Math.sqrt(v) * wallis(v - 1);
    const share = 0.5 * area(factor(n), v) / half;
    ok(Math.abs(share - 0.475) <= 1e-9, `${n} seeds: ${share}`);
  }
});

Deno.test("meanOverSeeds() keeps to 30 degrees of freedom for more seeds, which is a little too wide", () => {
  ok(Math.abs(factor(32) - factor(31)) <= 1e-9);
  ok(Math.abs(factor(200) - factor(31)) <= 1e-9);
});

/** Integral of cos(u)^k from 0 to pi / 2, by its recursion. */
function wallis(k: number): number {
  if (k === 0) return Math.PI / 2;
  return k === 1 ? 1 : (k - 1) / k * wallis(k - 2);
}

Deno.test("meanOverSeeds() stays in [0, 1], and one seed keeps its own interval", () => {
  deepStrictEqual(meanOverSeeds([seed(0.3)]), seed(0.3));
  const { low, high } = meanOverSeeds([0, 1].map(seed));
  deepStrictEqual([low, high], [0, 1]);
  const nothing = meanOverSeeds([]);
  ok(Number.isNaN(nothing.mean) && nothing.low === 0 && nothing.high === 1);
});
