// SPDX-License-Identifier: Apache-2.0
/** The study as a picture: scores with their intervals above, speeds below; narrow, and of its own colours by day and night. */
import { escapeHtml } from "../../lib/report/escape_html.ts";
import { DARK_SERIES_COLORS, SERIES_COLORS } from "../../lib/report/palette.ts";
import type { Estimate } from "../../lib/evaluate/metrics.ts";
import type { MethodResult } from "./results.ts";

const WIDTH = 480;
const LEFT = 84;
const RIGHT = 62;
/** Two lines of a method, and the space between methods. */
const [LINE, GAP] = [18, 14];
const PANEL_HEAD = 34;
const AXIS = 30;
/** A score's axis begins at a multiple of this. */
const SCORE_STEP = 0.05;
const SIDES = ["meft", "PyTorch + PEFT"] as const;

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

/** What is drawn of a method on one side: to the value, and where there is an interval, over that. */
interface Mark {
  readonly value: number;
  readonly low?: number;
  readonly high?: number;
}

/** A panel: a line a side of every method, on one scale. */
interface Panel {
  readonly head: string;
  readonly from: number;
  readonly to: number;
  readonly ticks: readonly number[];
  readonly format: (value: number) => string;
  readonly bars: boolean;
  readonly rows: readonly { readonly name: string; readonly marks: readonly (Mark | null)[] }[];
}

/** SVG text. */
export function drawStudy(methods: readonly MethodResult[]): string {
  const panels = [scorePanel(methods), speedPanel(methods)];
  const height = panelHeight(panels[0] as Panel) + panelHeight(panels[1] as Panel) + 34;
  const legend = SIDES.map((name, side) => {
    const x = LEFT + side * 90;
    return `<rect class="s${side}" x="${x}" y="11" width="10" height="10"/><text x="${
      x + 16
    }" y="20">${name}</text>`;
  });
  let top = 34;
  const drawn = panels.map((panel) => {
    const svg = drawPanel(panel, top);
    top += panelHeight(panel);
    return svg;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
    `role="img" aria-label="accuracy and speed of each method, here and in PyTorch"><style>${STYLE}\n</style>` +
    `<rect class="paper" width="100%" height="100%"/>${legend.join("")}${drawn.join("")}</svg>\n`;
}

function scorePanel(methods: readonly MethodResult[]): Panel {
  const mark = (estimate: Estimate | null): Mark | null =>
    estimate && { value: estimate.mean, low: estimate.low, high: estimate.high };
  const rows = methods.map(({ method, accuracy }) => ({ name: method, marks: accuracy.map(mark) }));
  const values = rows.flatMap(({ marks }) => marks).flatMap((one) =>
    one === null ? [] : [one.low ?? one.value, one.high ?? one.value]
  );
  const from = SCORE_STEP * Math.floor(Math.min(...values) / SCORE_STEP);
  const to = SCORE_STEP * Math.ceil(Math.max(...values) / SCORE_STEP);
  return {
    ...{ head: "accuracy on the test rows, 95 % intervals over the seeds", from, to, rows, bars: false },
    ticks: ticksOf(from, to, SCORE_STEP),
    format: (value) => `${(100 * value).toFixed(1)} %`,
  };
}

function speedPanel(methods: readonly MethodResult[]): Panel {
  const rows = methods.map(({ method, rowsPerSecond }) => ({
    name: method,
    marks: rowsPerSecond.map((value) => value === null ? null : { value }),
  }));
  const most = Math.max(...rows.flatMap(({ marks }) => marks.map((one) => one?.value ?? 0)));
  const step = [10, 20, 50, 100, 200, 500, 1000].find((size) => most / size <= 6) ?? 2000;
  const to = step * Math.ceil(most / step);
  return {
    ...{ head: "rows trained a second of CPU time", from: 0, to, rows, bars: true },
    ticks: ticksOf(0, to, step),
    format: (value) => value.toFixed(0),
  };
}

function ticksOf(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.round((to - from) / step) + 1 }, (_, i) => from + i * step);
}

function panelHeight({ rows }: Panel): number {
  return PANEL_HEAD + rows.length * (SIDES.length * LINE + GAP) + AXIS;
}

function drawPanel({ head, from, to, ticks, format, bars, rows }: Panel, top: number): string {
  const scale = (WIDTH - LEFT - RIGHT) / (to - from);
  const x = (value: number) => (LEFT + (value - from) * scale).toFixed(1);
  const [first, last] = [
    top + PANEL_HEAD - 6,
    top + PANEL_HEAD + rows.length * (SIDES.length * LINE + GAP) - 6,
  ];
  const grid = ticks.map((tick) =>
    `<line class="grid" x1="${x(tick)}" x2="${x(tick)}" y1="${first}" y2="${last}"/>` +
    `<text class="axis" x="${x(tick)}" y="${last + 16}" text-anchor="middle">${
      format(tick).replace(".0 %", " %")
    }</text>`
  );
  const lines = rows.map(({ name, marks }, row) => {
    const y = top + PANEL_HEAD + row * (SIDES.length * LINE + GAP);
    const drawn = marks.map((mark, side) => {
      if (mark === null) return "";
      const middle = y + side * LINE + LINE / 2;
      const title = `<title>${escapeHtml(`${name}, ${SIDES[side]}: ${format(mark.value)}`)}</title>`;
      const shape = bars
        ? `<rect class="s${side}" stroke="none" x="${x(from)}" y="${middle - 6}" width="${
          ((mark.value - from) * scale).toFixed(1)
        }" height="12">${title}</rect>`
        : `<line class="s${side}" stroke-width="2" x1="${x(mark.low ?? mark.value)}" x2="${
          x(mark.high ?? mark.value)
        }" y1="${middle}" y2="${middle}"/><circle class="s${side}" cx="${
          x(mark.value)
        }" cy="${middle}" r="4">${title}</circle>`;
      const end = bars ? x(mark.value) : x(mark.high ?? mark.value);
      return `${shape}<text class="axis" x="${Number(end) + 6}" y="${middle + 4}">${
        format(mark.value)
      }</text>`;
    });
    return `<text x="${LEFT - 10}" y="${y + LINE + 4}" text-anchor="end">${escapeHtml(name)}</text>${
      drawn.join("")
    }`;
  });
  return `<text class="head" x="10" y="${top + 16}">${head}</text>${grid.join("")}${lines.join("")}`;
}
