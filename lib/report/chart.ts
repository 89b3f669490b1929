// SPDX-License-Identifier: Apache-2.0
/** Charts as SVG text, drawn without a browser. Kept out of `mod.ts`: a plotting library is no part of training. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { visibleText } from "../core/visible_text.ts";
import { createDisplay, type Display } from "./display.ts";
import { escapeHtml } from "./escape_html.ts";
import { seriesColor } from "./palette.ts";
import { type Point, thinPoints } from "./thin_series.ts";

/** A line of a chart. */
export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

/** One cell of a heat map. */
export interface HeatCell {
  readonly x: string | number;
  readonly y: string | number;
  readonly value: number;
}

/** What stands at the axes. */
export interface ChartLabels {
  readonly x: string;
  readonly y: string;
}

/** A chart: SVG that a notebook shows, and any file can hold. */
export interface Chart extends Display {
  readonly svg: string;
}

/** Of every chart, in pixels. */
export const WIDTH = 640;
const HEIGHT = 200;
/** Widest usual width of a character at the size of tick labels, in pixels. */
const CHARACTER_WIDTH = 6;
const COLOR = seriesColor(0);
/** Of the band from the least to the largest of the values that a point is the mean of. */
const BAND_OPACITY = 0.22;
/** Of its edge, without which the tip of a spike would be too faint to see. */
const EDGE_OPACITY = 0.6;
/** From here on numbers of an axis of steps would be cut off or run into each other: 1.2M is said. */
const SHORT_TICKS_FROM = 100_000;

/** A line through points, in the order given. */
export function lineChart(points: readonly Point[], labels: ChartLabels): Chart {
  return seriesChart([{ name: labels.y, points }], labels);
}

/**
 * Several lines on the same axes, in the colours of `palette.ts`. The panel carries its values as `data-series` and its axes
 * as `data-x-axis` and `data-y-axis` (first and last value, then their pixels), so that a page can say what is drawn where.
 *
 * @param options `zero`: the y axis starts at 0     `dots`: points are marked, for few of them
 */
export function seriesChart(
  series: readonly Series[],
  labels: ChartLabels,
  options: { readonly zero?: boolean; readonly dots?: boolean } = {},
): Chart {
  const count = series.reduce((sum, { points }) => sum + points.length, 0);
  return chart(describe("line chart", count, labels), [linePanel(series, labels, options)]);
}

/** One bar for each value, by index. */
export function barChart(values: ArrayLike<number>, labels: ChartLabels): Chart {
  const bars = Array.from(values, (value, index) => ({ index, value }));
  const marks = [
    Plot.rectY(bars, {
      x1: (bar) => bar.index - 0.4,
      x2: (bar) => bar.index + 0.4,
      y: "value",
      fill: COLOR,
    }),
    Plot.ruleY([0]),
  ];
  return chart(describe("bar chart", bars.length, labels), [panel({ marks, ...axes(labels) })]);
}

/** Values as colours, rows and columns in the order in which they first occur; each cell says its value under the pointer. */
export function heatMap(cells: readonly HeatCell[], labels: ChartLabels & { readonly value: string }): Chart {
  const rows = new Set(cells.map(({ y }) => y));
  const longestName = Math.max(0, ...[...rows].map((name) => String(name).length));
  const svg = panel({
    marks: [
      Plot.cell(cells, {
        x: "x",
        y: "y",
        fill: "value",
        title: ({ x, y, value }) => `${labels.x} ${x}, ${labels.y} ${y}: ${value.toPrecision(4)}`,
      }),
    ],
    x: { label: labels.x, domain: [...new Set(cells.map(({ x }) => x))], ticks: [], type: "band" },
    y: { label: labels.y, domain: [...rows], type: "band" },
    color: { scheme: "blues" },
    height: 60 + 18 * rows.size,
    marginLeft: 24 + CHARACTER_WIDTH * longestName,
  });
  return chart(describe(`heat map of ${labels.value}`, cells.length, labels), [svg]);
}

/** Horizontal bars in groups, one colour a name, in the order in which groups and names first occur. */
export function groupedBars(
  bars: readonly { readonly group: string; readonly name: string; readonly value: number }[],
  labels: ChartLabels,
): Chart {
  const groups = [...new Set(bars.map(({ group }) => group))];
  const names = [...new Set(bars.map(({ name }) => name))];
  const longestName = Math.max(0, ...groups.map((group) => group.length));
  const svg = panel({
    marks: [
      Plot.barX(bars, {
        x: "value",
        y: "name",
        fy: "group",
        fill: (bar) => seriesColor(names.indexOf(bar.name)),
      }),
      Plot.ruleX([0]),
    ],
    x: { label: labels.x, grid: true },
    y: { axis: null, domain: names },
    fy: { label: null, axis: "left", domain: groups },
    color: { type: "identity" },
    height: 60 + 14 * groups.length * names.length,
    marginLeft: 24 + CHARACTER_WIDTH * longestName,
  });
  return chart(describe("bar chart", bars.length, labels), [svg]);
}

/** Several lines below each other, for metrics of different size, with their newest values. */
export function linePanels(
  panels: readonly (Series & { readonly newest: number | null })[],
  x: string,
): Chart {
  const text = panels.map(({ name, newest }) => `${name} ${newest?.toPrecision(4) ?? "not yet measured"}`)
    .join(", ");
  return chart(text, panels.map((line) => linePanel([line], { x, y: line.name })));
}

/** What a thinned line's points and band are, for readers of the chart; nothing for lines as they were. */
export function thinningNote(series: readonly { readonly perPoint: number }[]): string {
  const counts = series.map(({ perPoint }) => perPoint);
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  if (most <= 1) return "";
  return `Each point is the mean of ${least < most ? "up to " : ""}${most} values, the band their range.`;
}

/** What a plot needs of a browser. */
type DomWindow = { readonly document: NonNullable<Plot.PlotOptions["document"]> };

/** An SVG with its height in pixels. */
export interface Panel {
  readonly svg: string;
  readonly height: number;
}

function describe(kind: string, count: number, { x, y }: ChartLabels): string {
  return `${kind}, ${y} by ${x}, ${count} values`;
}

function axes({ x, y }: ChartLabels): { readonly x: Plot.ScaleOptions; readonly y: Plot.ScaleOptions } {
  return { x: { label: x }, y: { label: y, grid: true } };
}

function linePanel(
  series: readonly Series[],
  labels: ChartLabels,
  { zero = false, dots = false }: { readonly zero?: boolean; readonly dots?: boolean } = {},
): Panel {
  const thin = series.map(({ name, points }) => ({ name, points: thinPoints(points) }));
  const marks = [
    ...thin.flatMap(({ points }, i) => bandMarks(points, seriesColor(i))),
    ...thin.flatMap(({ points }, i) => [
      Plot.line(points, { x: "x", y: "y", stroke: seriesColor(i), strokeWidth: 1.5 }),
      ...(dots ? [Plot.dot(points, { x: "x", y: "y", fill: seriesColor(i), r: 2.5 })] : []),
    ]),
  ];
  const { x, y } = axes(labels);
  const isLong = thin.some(({ points }) => Math.abs(points.at(-1)?.x ?? 0) >= SHORT_TICKS_FROM);
  return panel({ marks, x: { ...x, ...(isLong && { tickFormat: "~s" }) }, y: { ...y, zero } }, {
    "data-x-name": labels.x,
    "data-series": seriesText(thin),
  });
}

/** Below the lines, so that what a mean hides is seen: a spike of one step in a million. */
function bandMarks(points: readonly Point[], fill: string): Plot.Markish[] {
  if (points.every(({ low }) => low === undefined)) return [];
  const band = points.map(({ x, y, low = y, high = y }) => ({ x, low, high }));
  const edge = { stroke: fill, strokeWidth: 0.75, strokeOpacity: EDGE_OPACITY };
  return [Plot.areaY(band, { x: "x", y1: "low", y2: "high", fill, fillOpacity: BAND_OPACITY, ...edge })];
}

/** The values of lines as JSON, with the ends of a mean's band: enough digits to read, not more. */
function seriesText(series: readonly Series[]): string {
  const short = (value: number) => Number.isFinite(value) ? Number(value.toPrecision(7)) : null;
  return JSON.stringify(
    series.map(({ name, points }) => ({
      name,
      points: points.map(({ x, y, low, high }) =>
        (low === undefined || high === undefined ? [x, y] : [x, y, low, high]).map(short)
      ),
    })),
  );
}

/** First and last value of an axis, then their pixels; nothing where nothing is drawn. */
function axisText(scale: Plot.Scale | undefined): string {
  const ends = (values: Iterable<unknown> = []) => {
    const all = [...values].map(Number);
    return [all[0], all.at(-1)];
  };
  return scale === undefined ? "" : [...ends(scale.domain), ...ends(scale.range)].join(" ");
}

/** @param attributes Given to the panel's SVG, beside those of its axes when there are any */
export function panel(options: Plot.PlotOptions, attributes: Readonly<Record<string, string>> = {}): Panel {
  const height = options.height ?? HEIGHT;
  const dom = parseHTML("<!doctype html><body></body>") as unknown as DomWindow;
  const svg = Plot.plot({
    width: WIDTH,
    height,
    marginLeft: 60,
    marginBottom: 36,
    ...options,
    document: dom.document,
  });
  const drawn = visibleText(svg.outerHTML); // names come from data
  if (Object.keys(attributes).length === 0) return { svg: drawn, height };
  const all = {
    ...attributes,
    "data-x-axis": axisText(svg.scale("x")),
    "data-y-axis": axisText(svg.scale("y")),
  };
  const text = Object.entries(all).map(([name, value]) => `${name}="${escapeHtml(value)}" `).join("");
  return { svg: drawn.replace("<svg ", () => `<svg ${text}`), height };
}

/** Panels below each other in one SVG, on white: notebooks show it as an image, whose page may be dark. */
export function chart(text: string, panels: readonly Panel[]): Chart {
  const height = panels.reduce((sum, panel) => sum + panel.height, 0);
  let top = 0;
  const parts = panels.map((panel) => {
    const placed = panel.svg.replace("<svg ", `<svg y="${top}" `);
    top += panel.height;
    return placed;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" ` +
    `viewBox="0 0 ${WIDTH} ${height}"><rect class="paper" width="100%" height="100%" fill="white"/>${
      parts.join("")
    }</svg>`;
  return { svg, ...createDisplay(text, "image/svg+xml", svg) };
}
