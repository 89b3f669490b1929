// SPDX-License-Identifier: Apache-2.0
/** The part of a run's page about memory: predicted and measured bytes by class, and what was held step by step. */
import { isJsonObject, type JsonObject } from "../core/json.ts";
import { groupedBars, seriesChart } from "./chart.ts";
import { formatBytes } from "./format.ts";
import { htmlTable, legendFigure, markup, type PageSection } from "./html_page.ts";
import { metricPoints, type MetricsLine, newestValue } from "./run_record.ts";

const MIB = 2 ** 20;

/** Null when nothing is known of the run's memory yet. */
export function memorySection(run: JsonObject, metrics: readonly MetricsLine[]): PageSection | null {
  const predicted = isJsonObject(run.predictedBytes) ? run.predictedBytes as Record<string, number> : {};
  const measured = newestValue<Record<string, number>>(metrics, "peakBytes") ?? {};
  const classes = [...new Set([...Object.keys(predicted), ...Object.keys(measured)])];
  if (classes.length === 0) return null;
  const bars = classes.flatMap((name) => [
    { group: name, name: "predicted", value: (predicted[name] ?? 0) / MIB },
    { group: name, name: "most held", value: (measured[name] ?? 0) / MIB },
  ]);
  const held = metricPoints(metrics, "heldBytes").map(({ x, y }) => ({ x, y: y / MIB }));
  const bytes = (value: number | undefined) => value === undefined ? "" : formatBytes(value);
  const figures = [
    legendFigure(
      groupedBars(bars, { x: "MiB", y: "class" }),
      "Host memory by class",
      ["predicted", "most held"],
    ),
    legendFigure(
      seriesChart([{ name: "held", points: held }], { x: "step", y: "MiB" }, { zero: true }),
      "Host memory held after a step",
      ["held"],
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
