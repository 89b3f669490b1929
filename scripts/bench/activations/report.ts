// SPDX-License-Identifier: Apache-2.0
/** What steps remember, as tables and a chart. */
import { formatBytes, formatShare } from "../../../lib/report/format.ts";
import { formatTable } from "../../../lib/report/table.ts";
import type { Bar } from "../chart.ts";
import { formatSummary } from "../statistics.ts";
import { type ActivationCell, savings } from "./activations.ts";
import { formatShape } from "./shapes.ts";
import type { TimedStep } from "./timed.ts";

/** Kept and most at one time: a line a shape, a column a way. */
export function activationTable(cells: readonly ActivationCell[]): string {
  const ways = [...new Set(cells.map(({ way }) => way))];
  const shapes = new Map(cells.map(({ shape, series }) => [shape, series]));
  return formatTable([
    ["by", "shape", ...ways.map((way) => `${way}: kept, peak`)],
    ...[...shapes].map(([shape, series]) => [
      series,
      formatShape(shape),
      ...ways.map((way) => {
        const cell = cells.find((one) => one.shape === shape && one.way === way);
        return cell ? `${formatBytes(cell.kept)}, ${formatBytes(cell.peak)}` : "";
      }),
    ]),
  ]);
}

/** How much less than PyTorch is held at the most. */
export function savingTable(cells: readonly ActivationCell[]): string {
  return formatTable([
    ["shape", "way", "below PyTorch's full fine-tuning"],
    ...savings(cells).map(({ shape, way, saved }) => [formatShape(shape), way, formatShare(saved)]),
  ]);
}

/** Times of steps. */
export function timedTable(steps: readonly TimedStep[]): string {
  return formatTable([
    ["step", "ms (quartiles)", "over store", "over recompute"],
    ...steps.map(({ way, ms, overStore, overRecompute }) => [
      way,
      ...[ms, overStore, overRecompute].map(formatSummary),
    ]),
  ]);
}

/** Peaks in MiB: what was kept, and what the rest of a pass takes at one time. */
export function activationBars(cells: readonly ActivationCell[]): Bar[] {
  return cells.map(({ shape: { layers, length, rows }, way, kept, peak }) => ({
    label: `${layers} L, ${rows} x ${length}: ${way}`,
    pieces: [
      { name: "kept", value: kept / 2 ** 20 },
      { name: "beside it, at most", value: (peak - kept) / 2 ** 20 },
    ],
  }));
}
