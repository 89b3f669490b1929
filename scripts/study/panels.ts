// SPDX-License-Identifier: Apache-2.0
/** A study as a picture: panels of values below each other; narrow, and of its own colours by day and night. */
import { escapeHtml } from "../../lib/report/escape_html.ts";
import { DARK_SERIES_COLORS, SERIES_COLORS } from "../../lib/report/palette.ts";

const WIDTH = 480;
const LEFT = 84;
const RIGHT = 62;
/** A line of a row, and the space between rows. */
const [LINE, GAP] = [18, 14];
const PANEL_HEAD = 34;
const AXIS = 30;
const LEGEND = 34;

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #1a202c } .head { font-weight: 600 } .axis { fill: #4a5568; font-size: 11px }
  .grid { stroke: #cbd5e0; stroke-width: 1 } .paper { fill: #ffffff }
  .s0 { fill: ${SERIES_COLORS[0]}; stroke: ${SERIES_COLORS[0]} } .s1 { fill: ${SERIES_COLORS[1]}; stroke: ${
  SERIES_COLORS[1]
} }
  @media (prefers-color-scheme: dark) {
    text { fill: #e2e8f0 } .axis { fill: #a0aec0 } .grid { stroke: #4a5568 } .paper { fill: #171923 }
    .s0 { fill: ${DARK_SERIES_COLORS[0]}; stroke: ${DARK_SERIES_COLORS[0]} }
    .s1 { fill: ${DARK_SERIES_COLORS[1]}; stroke: ${DARK_SERIES_COLORS[1]} }
  }`;

/** What is drawn of a row on one side: to the value, and where there is an interval, over that. */
export interface Mark {
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
}

/** A panel: a line a side of every row, on one scale. */
export interface Panel {
  readonly head: string;
  readonly from: number;
  readonly to: number;
  readonly ticks: readonly number[];
  readonly format: (value: number) => string;
  /** Bars from the scale's begin, or points. */
  readonly bars: boolean;
  readonly rows: readonly PanelRow[];
}

/** A row of a panel: as many marks as every other. */
export interface PanelRow {
  readonly name: string;
  readonly marks: readonly (Mark | null)[];
}

/** A panel of points on a scale that its values fill, in whole steps. */
export function pointPanel(
  head: string,
  rows: readonly PanelRow[],
  step: number,
  format: (value: number) => string,
): Panel {
  const values = rows.flatMap(({ marks }) => marks).flatMap((one) =>
    one === null ? [] : [one.low ?? one.value, one.high ?? one.value]
  );
  const from = step * Math.floor(Math.min(...values) / step);
  const to = step *
    Math.max(Math.ceil(Math.max(...values) / step), Math.floor(Math.min(...values) / step) + 1);
  return { head, from, to, rows, bars: false, ticks: ticksOf(from, to, step), format };
}

/** A panel of bars from 0. */
export function barPanel(head: string, rows: readonly PanelRow[], format: (value: number) => string): Panel {
  const most = Math.max(...rows.flatMap(({ marks }) => marks.map((one) => one?.value ?? 0)));
  const step = [10, 20, 50, 100, 200, 500, 1000].find((size) => most / size <= 6) ?? 2000;
  const to = step * Math.ceil(most / step);
  return { head, from: 0, to, rows, bars: true, ticks: ticksOf(0, to, step), format };
}

function ticksOf(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.round((to - from) / step) + 1 }, (_, i) => from + i * step);
}

/** SVG text. @param sides What the marks of a row are     @param label For those who do not see it */
export function drawPanels(panels: readonly Panel[], sides: readonly string[], label: string): string {
  const height = LEGEND + panels.reduce((sum, panel) => sum + panelHeight(panel), 0);
  const legend = sides.map((name, side) => {
    const x = LEFT + side * 90;
    return `<rect class="s${side}" x="${x}" y="11" width="10" height="10"/><text x="${
      x + 16
    }" y="20">${name}</text>`;
  });
  let top = LEGEND;
  const drawn = panels.map((panel) => {
    const svg = drawPanel(panel, sides, top);
    top += panelHeight(panel);
    return svg;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
    `role="img" aria-label="${label}"><style>${STYLE}\n</style>` +
    `<rect class="paper" width="100%" height="100%"/>${legend.join("")}${drawn.join("")}</svg>\n`;
}

function rowHeight({ rows }: Panel): number {
  return (rows[0]?.marks.length ?? 0) * LINE + GAP;
}

function panelHeight(panel: Panel): number {
  return PANEL_HEAD + panel.rows.length * rowHeight(panel) + AXIS;
}

function drawPanel(panel: Panel, sides: readonly string[], top: number): string {
  const { head, from, to, ticks, format, rows } = panel;
  const x = (value: number) => (LEFT + (value - from) * (WIDTH - LEFT - RIGHT) / (to - from)).toFixed(1);
  const [first, last] = [top + PANEL_HEAD - 6, top + PANEL_HEAD + rows.length * rowHeight(panel) - 6];
  const grid = ticks.map((tick) =>
    `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${first}" y2="${last}"/>` +
    `<text class="axis" x="${x(tick)}" y="${last + 16}" text-anchor="middle">${
      format(tick).replace(".0 %", " %")
    }</text>`
  );
  const lines = rows.map(({ name, marks }, row) => {
    const y = top + PANEL_HEAD + row * rowHeight(panel);
    const drawn = marks.map((mark, side) =>
      mark === null ? "" : drawMark(panel, mark, {
        ...{ side, x, middle: y + side * LINE + LINE / 2 },
        title: `${name}, ${sides[side]}: ${format(mark.value)}`,
      })
    );
    return `<text x="${LEFT - 10}" y="${y + (marks.length * LINE) / 2 + 4}" text-anchor="end">${
      escapeHtml(name)
    }</text>${drawn.join("")}`;
  });
  return `<text class="head" x="10" y="${top + 16}">${head}</text>${grid.join("")}${lines.join("")}`;
}

/** Where a mark stands, and its name. */
interface MarkPlace {
  readonly side: number;
  readonly x: (value: number) => string;
  readonly middle: number;
  readonly title: string;
}

function drawMark({ from, bars, format }: Panel, mark: Mark, { side, x, middle, title }: MarkPlace): string {
  const [low, high] = [x(mark.low ?? mark.value), x(mark.high ?? mark.value)];
  const told = `<title>${escapeHtml(title)}</title>`;
  const shape = bars
    ? `<rect class="s${side}" stroke="none" x="${x(from)}" y="${middle - 6}" width="${
      (Number(x(mark.value)) - Number(x(from))).toFixed(1)
    }" height="12">${told}</rect>`
    : `<line class="s${side}" stroke-width="2" x1="${low}" x2="${high}" y1="${middle}" y2="${middle}"/>` +
      `<circle class="s${side}" cx="${x(mark.value)}" cy="${middle}" r="4">${told}</circle>`;
  const end = bars ? x(mark.value) : high;
  return `${shape}<text class="axis" x="${Number(end) + 6}" y="${middle + 4}">${format(mark.value)}</text>`;
}
