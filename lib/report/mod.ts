// SPDX-License-Identifier: Apache-2.0
/**
 * For notebooks: charts, tables and token views that a cell shows, and an interrupt that does not kill the kernel.
 *
 * @example A chart that grows while training
 * ```ts
 * import { liveChart } from "meft/report";
 *
 * const chart = liveChart(["loss"]);
 * for (const step of [1, 2, 3]) await chart.push({ step, totalSteps: 3, loss: 1 / step });
 * console.log(chart.draw().svg.length > 0);
 * ```
 *
 * @module
 */
export { barChart, groupedBars, heatMap, lineChart } from "./chart.ts";
export type { Chart, ChartLabels, HeatCell } from "./chart.ts";
export type { Point } from "./thin_series.ts";
export { plotStudy } from "./ablation_charts.ts";
export type { PlotChoice } from "./ablation_charts.ts";
export { liveStudy } from "./live_study.ts";
export type { LiveStudy } from "./live_study.ts";
export { studyTable } from "./ablation_report.ts";
export { memoryTable, table, tokenView } from "./display.ts";
export type { Display, MediaBundle } from "./display.ts";
export { liveChart } from "./live_chart.ts";
export type { LiveChart, StepNumbers } from "./live_chart.ts";
export { interruptSignal } from "./notebook.ts";
export { writeRunReport } from "./run_report.ts";
export { formatBytes, formatCount, formatLoss, formatSeconds, formatShare } from "./format.ts";
