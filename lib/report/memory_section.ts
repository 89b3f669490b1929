// SPDX-License-Identifier: Apache-2.0
/** The part of a run's page about memory: predicted and measured bytes by class, and what was held step by step. */
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { groupedBars, seriesChart, thinningNote } from "./chart.ts";
import { formatBytes } from "./format.ts";
import { scaled } from "./thin_series.ts";
import { htmlTable, legendFigure, markup, type PageSection } from "./html_page.ts";
import type { MetricsSummary } from "./metrics_summary.ts";

const MIB = 2 ** 20;

/** Null when nothing is known of the run's memory yet. */
export function memorySection(run: JsonObject, { peakBytes, series }: MetricsSummary): PageSection | null {
  const predicted = isJsonObject(run.predictedBytes) ? run.predictedBytes as Record<string, number> : {};
  const measured = peakBytes ?? {};
  const classes = [...new Set([...Object.keys(predicted), ...Object.keys(measured)])];
  if (classes.length === 0) return null;
  const bars = classes.flatMap((name) => [
    { group: name, name: "predicted", value: (predicted[name] ?? 0) / MIB },
    { group: name, name: "most held", value: (measured[name] ?? 0) / MIB },
  ]);
  const held = scaled(series.heldBytes, 1 / MIB);
  const bytes = (value: number | undefined) => value === undefined ? "" : formatBytes(value);
  const figures = [
    legendFigure(
      groupedBars(bars, { x: "MiB", y: "class" }),
      "Host memory by class",
      ["predicted", "most held"],
    ),
    legendFigure(
      seriesChart([{ name: "held", ...held }], { x: "step", y: "MiB" }, { zero: true }),
      "Host memory held after a step",
      ["held"],
      thinningNote([held]),
    ),
  ];
  const rows = classes.map((name) => [name, bytes(predicted[name]), bytes(measured[name])]);
  return {
    id: "memory",
    heading: "Memory",
    body: [
      markup`<div class="figures">${figures}</div>`,
      htmlTable([["class", "predicted", "most held"], ...rows]),
    ],
  };
}
