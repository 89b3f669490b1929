// SPDX-License-Identifier: Apache-2.0
/** What was measured on the GPU, as tables and a chart. */
import { busiest } from "../../../lib/train/lane_account.ts";
import { formatCount, formatShare } from "../../../lib/report/format.ts";
import { formatTable } from "../../../lib/report/table.ts";
import type { Bar } from "../chart.ts";
import { formatSummary, median, summarize } from "../statistics.ts";
import type { HostBound } from "./host_bound.ts";
import type { CellResult } from "./measure.ts";
import type { RivalResult, Verdict } from "./verdicts.ts";

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e8 ? 4 : 2)} GB`;

/** Our cells. */
export function cellTable(results: readonly CellResult[]): string {
  return formatTable([
    [
      "step",
      "rows",
      "ms (quartiles)",
      "frozen ms",
      "speed",
      "busiest lane",
      "over it",
      "GPU peak",
      "down, up",
    ],
    ...results.map(({ cell, placement, stepMs, frozenMs, speedShare, busyMs, peak, downBytes, upBytes }) => {
      const lane = busiest(busyMs);
      return [
        cell.name,
        placement === null ? "" : `${placement.placement}, ${placement.halves === 2 ? "halves" : "whole"}`,
        formatSummary(stepMs),
        formatSummary(frozenMs),
        formatShare(speedShare),
        `${lane === "model" ? "GPU" : lane} ${busyMs[lane].toFixed(1)} ms`,
        (stepMs.median / busyMs[lane]).toFixed(2),
        gigabytes(peak.total),
        `${gigabytes(downBytes)}, ${gigabytes(upBytes)}`,
      ];
    }),
  ]);
}

/** PyTorch's cells; those with a dense adapter beside our placement host with as many neurons. */
export function rivalTable(rivals: readonly RivalResult[], ours: readonly CellResult[]): string {
  return formatTable([
    ["PyTorch step", "ms (quartiles)", "tokens/s", "GPU peak", "over ours", "trained"],
    ...rivals.map(({ name, ms, tokens, neurons, bytes, trained }) => {
      const like = ours.find(({ cell }) =>
        cell.placement === "host" && cell.activations === "store" && cell.accumulation === 1 &&
        cell.tokens === tokens && cell.rows?.neurons === neurons
      );
      return [
        name,
        formatSummary(summarize(ms)),
        formatCount(1000 * tokens / median(ms)),
        gigabytes(bytes),
        like === undefined ? "" : (bytes / like.peak.total).toFixed(2),
        formatCount(trained),
      ];
    }),
  ]);
}

/** Every bar. */
export function verdictTable(verdicts: readonly Verdict[]): string {
  return formatTable([
    ["bar", "bound", "worst measured", "verdict", "where", "cells"],
    ...verdicts.map(({ bar, bound, value, verdict, where, measured, wanted }) => [
      bar,
      bound,
      value === null ? "" : value >= 1e6 ? gigabytes(value) : value.toFixed(3),
      verdict,
      where,
      `${measured} of ${wanted}`,
    ]),
  ]);
}

/** Where the host is the bound. */
export function boundTable(bounds: readonly HostBound[]): string {
  return formatTable([
    [
      "bound by the host",
      "its longest kernel",
      "ms a step",
      "rate",
      "of the host's limit",
      "speed beside a 4090-class card",
    ],
    ...bounds.map(({ cell, kernel, ms, rate, unit, share, speedShareOn4090 }) => [
      cell,
      kernel,
      ms.toFixed(1),
      `${rate.toFixed(0)} ${unit}`,
      formatShare(share),
      speedShareOn4090 === null ? "" : `${formatShare(speedShareOn4090)} of the frozen model's, by the model`,
    ]),
  ]);
}

/** Steps of both, for a chart. */
export function gpuBars(results: readonly CellResult[], rivals: readonly RivalResult[]): Bar[] {
  return [
    ...results.map(({ cell, frozenMs, stepMs }) => ({
      label: cell.name.slice(0, 40),
      pieces: [
        { name: "frozen model", value: frozenMs.median },
        { name: "beyond it", value: Math.max(0, stepMs.median - frozenMs.median) },
      ],
    })),
    ...rivals.map(({ name, ms }) => ({
      label: name.slice(0, 40),
      pieces: [{ name: "PyTorch", value: median(ms) }],
    })),
  ];
}
