// SPDX-License-Identifier: Apache-2.0
/** The kernels' targets, a row each: what was measured, its yardstick, their ratio, the bar, met or missed. */
import type { KernelResult } from "./kernels.ts";
import type { Comparison } from "./part_rounds.ts";

/** A row of the table of targets. */
export interface TargetRow {
  readonly kernel: string;
  readonly size: string;
  readonly measured: string;
  readonly yardstick: string;
  /** Null where the yardstick is not here: no peer. */
  readonly ratio: number | null;
  readonly bar: number;
  /** Whether the ratio is to stay below the bar. */
  readonly atMost: boolean;
  /** Times faster than the portable target of the same kernel; null where that was not measured. */
  readonly overPortable: number | null;
}

/** Whether a row meets its bar; null where there is nothing to compare with. */
export function isMet({ ratio, bar, atMost }: TargetRow): boolean | null {
  return ratio === null ? null : atMost ? ratio <= bar : ratio >= bar;
}

/** What the adapter's step adds to the frozen products of a 7B model's layer. */
export function layerRow(comparisons: readonly Comparison[], layerSeconds: number): TargetRow[] {
  const step = comparisons.find(({ kernel }) => kernel === "whole adapter step");
  if (!step) return [];
  return [{
    kernel: "adapter beside a 7B layer",
    size: step.size,
    measured: step.measured,
    yardstick: `frozen products ${(1000 * layerSeconds).toFixed(0)} ms`,
    ratio: step.seconds / layerSeconds,
    bar: 0.1,
    atMost: true,
    overPortable: null,
  }];
}

const SHARES: readonly (readonly [string, "f32" | "bf16", string, number])[] = [
  ["linear forward f32", "f32", "512 x 4096 x 4096", 0.85],
  ["linear forward f32", "f32", "128 x 4096 x 4096", 0.85],
  ["linear backward data f32", "f32", "512 x 4096 x 4096", 0.78],
  ["linear backward data f32", "f32", "128 x 4096 x 4096", 0.78],
  ["linear forward bf16", "bf16", "512 x 4096 x 4096", 0.85],
  ["linear forward bf16", "bf16", "128 x 4096 x 4096", 0.85],
  ["linear backward data bf16", "bf16", "512 x 4096 x 4096", 0.75],
  ["linear backward data bf16", "bf16", "128 x 4096 x 4096", 0.75],
  ["linear forward f32", "f32", "1024 x 1024 x 256", 0.75],
  ["linear backward data f32", "f32", "1024 x 1024 x 256", 0.75],
  ["linear forward bf16", "bf16", "1024 x 1024 x 256", 0.65],
  ["linear backward data bf16", "bf16", "1024 x 1024 x 256", 0.65],
  ["linear forward f32", "f32", "1 x 4096 x 4096", 0.9],
  ["linear forward bf16", "bf16", "1 x 4096 x 4096", 0.9],
];

/** The rows of linear layers, of dense AdamW and of AdamW on rows, from the table of kernels. */
export function kernelRows(results: readonly KernelResult[]): TargetRow[] {
  const find = (name: string, shape: string) =>
    results.find((result) => result.name === name && result.shape === shape);
  const row = (result: KernelResult, yardstick: string, ratio: number | null, bar: number): TargetRow => ({
    kernel: result.name,
    size: result.shape,
    measured: `${result.rate.toFixed(0)} ${result.bound.endsWith("Gflops") ? "GFLOP/s" : "GB/s"}`,
    yardstick,
    ratio,
    bar,
    atMost: false,
    overPortable: result.overPortable,
  });
  const limits = {
    f32Gflops: "multiply-add peak",
    bf16Gflops: "vdpbf16ps peak",
    readGigabytes: "memory read",
    updateGigabytes: "the same streams, trivial arithmetic",
  };
  const rows: TargetRow[] = [];
  for (const [name, , shape, bar] of SHARES) {
    const result = find(name, shape);
    if (result) rows.push(row(result, limits[result.bound], result.share, bar));
  }
  for (const result of results) {
    const [tokens] = result.shape.split(" ");
    if (!result.name.startsWith("linear") || tokens === "1") continue;
    rows.push(row(result, "oneDNN, weights as stored", result.overOneDnn, 0.95));
    const wide = result.name.endsWith("f32") && find(result.name.replace("f32", "bf16"), result.shape);
    if (wide) rows.push(row(wide, "the same in f32", wide.rate / result.rate, 1.8));
  }
  for (const [name, bar] of [["AdamW dense", 0.95], ["AdamW rows", 0.9]] as const) {
    const result = results.find((one) => one.name === name);
    if (result) rows.push(row(result, limits.updateGigabytes, result.share, bar));
  }
  return rows;
}
