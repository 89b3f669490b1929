// SPDX-License-Identifier: Apache-2.0
/** The numbers that benchmarks report. */
import assert from "node:assert/strict";
import { barChart } from "../../../scripts/bench/chart.ts";
import { barRatios } from "../../../scripts/bench/ratios.ts";
import { median, quantile, slope, summarize } from "../../../scripts/bench/statistics.ts";

Deno.test("median() and quantile() interpolate between neighbours, whatever the order of the values", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(quantile([10, 30, 20, 40, 50], 0.25), 20);
  assert.equal(quantile([7], 0.9), 7);
  assert.equal(median([]), NaN);
});

Deno.test("slope() finds the power of a power law, and NaN where a logarithm has no value", () => {
  const power = slope([1, 2, 8, 64], [3, 3 * 2 ** 0.5, 3 * 8 ** 0.5, 3 * 64 ** 0.5]);
  assert.ok(Math.abs(power - 0.5) < 1e-12, String(power));
  assert.equal(slope([1, 2], [0, 1]), NaN);
  assert.equal(slope([1, 2], [-1, 1]), NaN);
});

Deno.test("summarize() gives the median between its quartiles", () => {
  assert.deepEqual(summarize([5, 1, 4, 2, 3]), { median: 3, low: 2, high: 4, rounds: 5 });
});

Deno.test("barRatios() takes each number from its pairing and the largest memory ratio, null where nothing was measured", () => {
  const side = { version: "", trained: 0, stepMs: summarize([1]), peakBytes: 1, firstLoss: 0 };
  const pairing = (name: string, dtype: "f32" | "bf16", speedRatio: number, memoryRatio: number) => ({
    ...{ name, dtype, speedRatio, memoryRatio },
    ...{ load: 0, ours: side, torch: side, torchCompiled: null },
  });
  const ratios = barRatios([pairing("lora", "f32", 2, 0.5), pairing("lora", "bf16", 3, 0.75)], [], 1.1);
  assert.equal(ratios.loraStepVsPeftF32, 2);
  assert.equal(ratios.loraStepVsPeftBf16, 3);
  assert.equal(ratios.sparseOverFrozen, 1.1);
  assert.equal(ratios.peakMemoryVsTorch, 0.75);
  assert.equal(ratios.sparseStepVsTorch4k, null);
  assert.equal(ratios.linearPeakShare, null);
});

Deno.test("barChart() escapes labels and draws the pieces of a bar end to end", () => {
  const svg = barChart("a < b", "ms", [{
    label: "x & y",
    pieces: [{ name: "p", value: 1 }, { name: "q", value: 3 }],
  }]);
  assert.match(svg, /a &lt; b/);
  assert.match(svg, /x &amp; y/);
  const widths = [...svg.matchAll(/width="([\d.]+)" height="16"/g)].map(([, width]) => Number(width));
  assert.equal(widths.length, 2);
  assert.equal(widths[1], 3 * (widths[0] as number));
});
