// SPDX-License-Identifier: Apache-2.0
/** Lines of means with their intervals, against numbers or names. */
import * as Plot from "@observablehq/plot";
import { type Chart, chart, type ChartLabels, type Panel, panel, WIDTH } from "./chart.ts";
import { escapeHtml } from "./escape_html.ts";
import { formatCount } from "./format.ts";
import { seriesColor } from "./palette.ts";

/** A mean; `low` and `high` where it has an interval. */
export interface IntervalPoint {
  readonly x: number | string;
  readonly y: number;
  readonly low?: number;
  readonly high?: number;
}

/** A line with its name. */
export interface IntervalSeries {
  readonly name: string;
  readonly points: readonly IntervalPoint[];
}

/** Choices of {@linkcode intervalChart}. */
export interface IntervalChartOptions {
  /** Fixed ends of the y axis. Default: from 0 to the largest value. */
  readonly domain?: readonly [number, number];
  /** How values of the y axis are written. */
  readonly format?: (value: number) => string;
}

const HEIGHT = 260;
const LEGEND_ROW = 18;
/** Where values span more than this ratio, equal steps on the axis are equal ratios. */
const LOG_FROM = 8;

/** Lines through means in the order of their x, with bars from low to high, and a legend where there are several. */
export function intervalChart(
  series: readonly IntervalSeries[],
  labels: ChartLabels,
  options: IntervalChartOptions = {},
): Chart {
  const lines = series.map(({ name, points }) => ({ name, points: points.toSorted(byX) }));
  const marks = lines.flatMap(({ name, points }, i) => lineMarks(name, points, seriesColor(i), options));
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))];
  const picture = panel({
    height: HEIGHT,
    marks: [...marks, ...xTicks(xs, labels.x)],
    x: { label: labels.x, ...xScale(xs) },
    y: {
      label: labels.y,
      grid: true,
      zero: true,
      ...(options.domain && { domain: [...options.domain] }),
      ...(options.format && { tickFormat: options.format }),
    },
  });
  const count = lines.reduce((sum, { points }) => sum + points.length, 0);
  const text = `chart of ${labels.y} by ${labels.x}, ${count} values: ${
    lines.map(({ name }) => name).join("; ")
  }`;
  return chart(text, series.length > 1 ? [legend(series.map(({ name }) => name)), picture] : [picture]);
}

function byX(a: IntervalPoint, b: IntervalPoint): number {
  return typeof a.x === "number" && typeof b.x === "number" ? a.x - b.x : 0;
}

function lineMarks(
  name: string,
  points: readonly IntervalPoint[],
  color: string,
  { format = String }: IntervalChartOptions,
): Plot.Markish[] {
  const withIntervals = points.filter(({ low, high }) => low !== undefined && high !== undefined);
  const title = ({ x, y, low, high }: IntervalPoint) =>
    `${name}, ${x}: ${format(y)}${
      low === undefined || high === undefined ? "" : ` (${format(low)} to ${format(high)})`
    }`;
  return [
    Plot.line(points, { x: "x", y: "y", stroke: color, strokeWidth: 1.5 }),
    Plot.ruleX(withIntervals, { x: "x", y1: "low", y2: "high", stroke: color, strokeWidth: 1.5 }),
    Plot.dot(points, { x: "x", y: "y", fill: color, r: 3.5, title }),
  ];
}

/** More numbers than this have round ticks instead of one each. */
const MOST_TICKS = 8;

/** All of them, where all are numbers. */
function numbersOf(xs: readonly (number | string)[]): readonly number[] | null {
  const numbers = xs.filter((x): x is number => typeof x === "number");
  return numbers.length === xs.length ? numbers : null;
}

/** Numbers get an axis of numbers; anything else stands side by side. */
function xScale(xs: readonly (number | string)[]): Plot.ScaleOptions {
  const numbers = numbersOf(xs);
  if (numbers === null) return { type: "point", domain: [...xs], padding: 0.5 };
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  const log = least > 0 && most / least >= LOG_FROM;
  return { type: log ? "log" : "linear", tickFormat: tickText, inset: 12 };
}

/** A tick at each number while they are few. (Told as a mark: of the ticks of a scale of ratios, Plot leaves some unlabelled.) */
function xTicks(xs: readonly (number | string)[], label: string): Plot.Markish[] {
  const numbers = numbersOf(xs);
  if (numbers === null || numbers.length > MOST_TICKS) return [];
  return [Plot.axisX(numbers, { label, text: tickText })];
}

/** `4096`, `80 k`, `0.0003`. */
function tickText(x: number): string {
  if (!Number.isInteger(x)) return String(Number(x.toPrecision(3)));
  return formatCount(x).replace(/\.0+(?= )|(\.\d*?)0+(?= )/, "$1");
}

/** Names beside their colours, in rows as wide as the chart. */
function legend(names: readonly string[]): Panel {
  let [x, row] = [60, 0];
  const entries = names.map((name, i) => {
    const width = 24 + 6.5 * name.length;
    if (x + width > WIDTH && x > 60) [x, row] = [60, row + 1];
    const [left, middle] = [x, row * LEGEND_ROW + LEGEND_ROW / 2];
    x += width;
    return `<rect x="${left}" y="${middle - 1.5}" width="12" height="3" fill="${seriesColor(i)}"/>` +
      `<text x="${left + 16}" y="${middle + 4}" font-size="11" font-family="system-ui, sans-serif" ` +
      `fill="currentColor">${escapeHtml(name)}</text>`;
  });
  const height = (row + 1) * LEGEND_ROW;
  return { height, svg: `<svg width="${WIDTH}" height="${height}">${entries.join("")}</svg>` };
}
