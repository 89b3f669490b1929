// SPDX-License-Identifier: Apache-2.0
/** What was measured, as tables, JSON and charts. */
import { formatBytes, formatCount, formatShare } from "../../lib/report/format.ts";
import { formatTable } from "../../lib/report/table.ts";
import type { Bar } from "./chart.ts";
import { EXPERTS_BAR, type ExpertsResult } from "./experts.ts";
import type { KernelResult } from "./kernels.ts";
import type { Machine } from "./machine.ts";
import type { Pairing, SideResult } from "./peers.ts";
import type { Ratios } from "./ratios.ts";
import { formatSummary } from "./statistics.ts";
import type { CellResult, Growth } from "./step.ts";
import { isMet, type TargetRow } from "./target_rows.ts";
import { PARTS } from "./timed_kernels.ts";

const FOLDER = new URL("../../bench/", import.meta.url);

/** Writes `bench/NAME.json` and `bench/NAME.svg`. @param svg Its chart */
export async function writeResults(
  name: string,
  machine: Machine,
  results: Readonly<Record<string, unknown>>,
  svg: string,
): Promise<void> {
  await Deno.mkdir(FOLDER, { recursive: true });
  const json = JSON.stringify({ machine, ...results }, null, 1);
  await Deno.writeTextFile(new URL(`${name}.json`, FOLDER), `${json}\n`);
  await Deno.writeTextFile(new URL(`${name}.svg`, FOLDER), svg);
}

/** A table of kernels. */
export function kernelTable(results: readonly KernelResult[]): string {
  const times = (ratio: number | null) => ratio === null ? "" : `${ratio.toFixed(2)}x`;
  return formatTable([
    ["kernel", "size", "ms (quartiles)", "rate", "of the limit", "over portable", "over oneDNN"],
    ...results.map((one) => [
      one.name,
      one.shape,
      formatSummary(one.ms),
      `${one.rate.toFixed(1)} ${one.bound.endsWith("Gflops") ? "GFLOP/s" : "GB/s"}`,
      `${formatShare(one.share)} of ${LIMIT_NAMES[one.bound]}`,
      times(one.overPortable),
      times(one.overOneDnn),
    ]),
  ]);
}

/** The kernels' targets, met or missed. */
export function targetTable(rows: readonly TargetRow[]): string {
  const verdict = { true: "met", false: "missed", null: "no peer" } as const;
  return formatTable([
    ["kernel", "size", "measured", "yardstick", "ratio", "bar", "", "over portable"],
    ...rows.map((row) => [
      row.kernel,
      row.size,
      row.measured,
      row.yardstick,
      row.ratio === null ? "" : row.ratio.toFixed(row.ratio < 10 ? 2 : 1),
      `${row.atMost ? "at most" : "at least"} ${row.bar}`,
      verdict[`${isMet(row)}`],
      row.overPortable === null ? "" : `${row.overPortable.toFixed(1)}x`,
    ]),
  ]);
}

const LIMIT_NAMES = {
  f32Gflops: "f32 peak",
  bf16Gflops: "bf16 peak",
  readGigabytes: "memory read",
  updateGigabytes: "memory update",
} as const;

/** Shares of the limits, for a chart. */
export function kernelBars(results: readonly KernelResult[]): Bar[] {
  return results.map(({ name, shape, bound, share }) => ({
    label: `${name}, ${shape}`.slice(0, 40),
    pieces: [{ name: LIMIT_NAMES[bound], value: 100 * share }],
  }));
}

/** A table of steps. */
export function stepTable(results: readonly CellResult[]): string {
  return formatTable([
    ["series", "step", "ms (quartiles)", "largest parts, ms", "peak memory", "trained", "fired", "load"],
    ...results.map((cell) => [
      cell.series,
      cell.name,
      formatSummary(cell.stepMs),
      largestParts(cell.parts),
      formatBytes(cell.peakBytes),
      formatCount(cell.trained),
      cell.activeNeurons === null ? "" : cell.activeNeurons.toFixed(0),
      cell.load.toFixed(1),
    ]),
  ]);
}

/** How times grow. */
export function growthTable(growths: readonly Growth[]): string {
  return formatTable([
    ["grows with", "from", "to", "step ~ size^", "adapter's part ~ size^"],
    ...growths.map(({ series, from, to, step, adapter }) => [
      series,
      String(from),
      String(to),
      step.toFixed(2),
      adapter === null ? "" : adapter.toFixed(2),
    ]),
  ]);
}

/** All parts of all steps, in ms. */
export function partsTable(results: readonly CellResult[]): string {
  const used = PARTS.filter((part) => results.some(({ parts }) => (parts[part] ?? 0) >= 0.5));
  return formatTable([
    ["step, ms", ...used],
    ...results.map(({ series, name, parts }) => [
      `${series}: ${name}`,
      ...used.map((part) => (parts[part] ?? 0).toFixed(0)),
    ]),
  ]);
}

function largestParts(parts: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(parts).sort(([, a], [, b]) => b - a).slice(0, 4);
  return sorted.map(([name, ms]) => `${name} ${ms.toFixed(0)}`).join(", ");
}

/** Steps by part, for a chart. */
export function stepBars(results: readonly CellResult[]): Bar[] {
  return results.map(({ series, name, parts }) => ({
    label: `${series}: ${name}`,
    pieces: PARTS.flatMap((part) => part in parts ? [{ name: part, value: parts[part] as number }] : []),
  }));
}

/** A table of pairings. */
export function peerTable(pairings: readonly Pairing[]): string {
  const compiled = (side: SideResult | string | null) =>
    side === null ? "" : typeof side === "string" ? "failed" : formatSummary(side.stepMs);
  return formatTable([
    [
      "step",
      "dtype",
      "meft ms",
      "PyTorch ms",
      "compiled ms",
      "times faster",
      "meft peak",
      "PyTorch peak",
      "load",
    ],
    ...pairings.map(({ name, dtype, ours, torch, torchCompiled, speedRatio, load }) => [
      name,
      dtype,
      formatSummary(ours.stepMs),
      formatSummary(torch.stepMs),
      compiled(torchCompiled),
      speedRatio.toFixed(2),
      formatBytes(ours.peakBytes),
      formatBytes(torch.peakBytes),
      load.toFixed(1),
    ]),
  ]);
}

/** Steps of both sides, for a chart. */
export function peerBars(pairings: readonly Pairing[]): Bar[] {
  return pairings.flatMap(({ name, dtype, ours, torch }) => [
    { label: `${name} ${dtype}, meft`, pieces: [{ name: "meft", value: ours.stepMs.median }] },
    { label: "PyTorch", pieces: [{ name: "PyTorch", value: torch.stepMs.median }] },
  ]);
}

/** A table of mixtures of experts beside dense models. */
export function expertTable(results: readonly ExpertsResult[]): string {
  return formatTable([
    ["step", "dtype", "dense ms", "mixture ms", "ratio", "bar", "", "load"],
    ...results.map(({ name, dtype, denseMs, mixtureMs, ratio, load }) => [
      name,
      dtype,
      formatSummary(denseMs),
      formatSummary(mixtureMs),
      formatSummary(ratio),
      `at most ${EXPERTS_BAR}`,
      ratio.median <= EXPERTS_BAR ? "met" : "missed",
      load.toFixed(1),
    ]),
  ]);
}

/** Steps of both models, for a chart. */
export function expertBars(results: readonly ExpertsResult[]): Bar[] {
  return results.flatMap(({ name, dtype, denseMs, mixtureMs }) => [
    { label: `${name} ${dtype}, mixture`, pieces: [{ name: "mixture", value: mixtureMs.median }] },
    { label: "dense", pieces: [{ name: "dense", value: denseMs.median }] },
  ]);
}

/** The bar's numbers. */
export function ratioTable(ratios: Ratios): string {
  const rows = Object.entries(ratios).map((
    [name, value],
  ) => [name, value === null ? "not measured" : value.toFixed(2)]);
  return formatTable([["ratio", "value"], ...rows]);
}
