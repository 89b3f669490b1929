// SPDX-License-Identifier: Apache-2.0
/** What steps remember, as tables. */
import { formatBytes, formatShare } from "../../../lib/report/format.ts";
import { formatTable } from "../../../lib/report/table.ts";
import { formatSummary } from "../statistics.ts";
import { type ActivationCell, savings } from "./activations.ts";
import { formatShape, type Shape } from "./shapes.ts";
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

/** What steps compute over what one computes that stores: what a quiet machine's time follows. */
export function productTable(cells: readonly ActivationCell[]): string {
  const ours = cells.filter(({ products }) => products !== undefined);
  const ways = [...new Set(ours.map(({ way }) => way))];
  const [store] = ways;
  const of = (shape: Shape, way: string | undefined): number =>
    ours.find((cell) => cell.shape === shape && cell.way === way)?.products ?? NaN;
  return formatTable([
    ["products over those of store", ...ways],
    ...[...new Set(ours.map(({ shape }) => shape))].map((shape) => [
      formatShape(shape),
      ...ways.map((way) => (of(shape, way) / of(shape, store)).toFixed(3)),
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

/** Times of steps, with their quartiles. */
export function timedTable(steps: readonly TimedStep[]): string {
  return formatTable([
    ["step of", "way", "processor ms", "over store", "over recompute", "measured at most", "counted"],
    ...steps.map(({ shape, way, cpuMs, overStore, overRecompute, measuredBytes, countedBytes }) => [
      formatShape(shape),
      way,
      ...[cpuMs, overStore, overRecompute].map(formatSummary),
      ...[measuredBytes, countedBytes].map(formatBytes),
    ]),
  ]);
}
