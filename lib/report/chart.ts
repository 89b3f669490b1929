// SPDX-License-Identifier: Apache-2.0
/** Charts as SVG text, drawn without a browser. Kept out of `mod.ts`: a plotting library is no part of training. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { createDisplay, type Display } from "./display.ts";

/** A point; one that is not finite leaves a gap. */
export interface Point {
  readonly x: number;
  readonly y: number;
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

const WIDTH = 640;
const HEIGHT = 200;
/** Widest usual width of a character at the size of tick labels, in pixels. */
const CHARACTER_WIDTH = 6;
const COLOR = "#2b6cb0";
/** More points than this would lie on the same pixels. */
const MAX_POINTS = 320;

/** A line through points, in the order given. */
export function lineChart(points: readonly Point[], labels: ChartLabels): Chart {
  return chart(describe("line chart", points.length, labels), [linePanel(points, labels)]);
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

/** Values as colours, rows and columns in the order in which they first occur. */
export function heatMap(cells: readonly HeatCell[], labels: ChartLabels & { readonly value: string }): Chart {
  const rows = new Set(cells.map(({ y }) => y));
  const longestName = Math.max(0, ...[...rows].map((name) => String(name).length));
  const svg = panel({
    marks: [Plot.cell(cells, { x: "x", y: "y", fill: "value" })],
    x: { label: labels.x, domain: [...new Set(cells.map(({ x }) => x))], ticks: [], type: "band" },
    y: { label: labels.y, domain: [...rows], type: "band" },
    color: { scheme: "blues" },
    height: 60 + 18 * rows.size,
    marginLeft: 24 + CHARACTER_WIDTH * longestName,
  });
  return chart(describe(`heat map of ${labels.value}`, cells.length, labels), [svg]);
}

/** Several lines below each other, for metrics of different size. */
export function linePanels(
  panels: readonly { readonly name: string; readonly points: readonly Point[] }[],
  x: string,
): Chart {
  const text = panels.map(({ name, points }) =>
    `${name} ${points.at(-1)?.y.toPrecision(4) ?? "not yet measured"}`
  ).join(", ");
  return chart(text, panels.map(({ name, points }) => linePanel(points, { x, y: name })));
}

/** At most {@linkcode MAX_POINTS} points: means of neighbours, so that a long run draws as fast as a short one. */
export function thinPoints(points: readonly Point[]): Point[] {
  const bucket = Math.max(1, Math.ceil(points.length / MAX_POINTS));
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return Array.from({ length: Math.ceil(points.length / bucket) }, (_, i) => {
    const part = points.slice(i * bucket, (i + 1) * bucket);
    return { x: mean(part.map(({ x }) => x)), y: mean(part.map(({ y }) => y)) };
  });
}

/** What a plot needs of a browser. */
type DomWindow = Pick<Plot.PlotOptions, "document">;

/** An SVG with its height in pixels. */
interface Panel {
  readonly svg: string;
  readonly height: number;
}

function describe(kind: string, count: number, { x, y }: ChartLabels): string {
  return `${kind}, ${y} by ${x}, ${count} values`;
}

function axes({ x, y }: ChartLabels): Plot.PlotOptions {
  return { x: { label: x }, y: { label: y, grid: true } };
}

function linePanel(points: readonly Point[], labels: ChartLabels): Panel {
  const marks = [Plot.line(thinPoints(points), { x: "x", y: "y", stroke: COLOR, strokeWidth: 1.5 })];
  return panel({ marks, ...axes(labels) });
}

function panel(options: Plot.PlotOptions): Panel {
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
  return { svg: svg.outerHTML, height };
}

/** Panels below each other in one SVG, on white: notebooks show it as an image, whose page may be dark. */
function chart(text: string, panels: readonly Panel[]): Chart {
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
