// SPDX-License-Identifier: Apache-2.0
/** Most at one time, against depth and against length, as a picture: narrow, and of its own colours by day and night. */
import { escapeHtml } from "../../../lib/report/escape_html.ts";
import { formatBytes } from "../../../lib/report/format.ts";
import { DARK_SERIES_COLORS, SERIES_COLORS } from "../../../lib/report/palette.ts";
import { type ActivationCell, PEER, PEER_CHECKPOINTED } from "./activations.ts";
import type { Shape } from "./shapes.ts";

const [WIDTH, LEFT, RIGHT] = [570, 80, 160];
const [HEAD, PANEL, AXIS, BETWEEN] = [34, 230, 22, 26];
/** Least distance between names at the ends of lines. */
const LINE = 15;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1a202c } .head { font-size: 13px; font-weight: 600 }
  .axis { fill: #4a5568; font-size: 11px } .grid { stroke: #e2e8f0 } .paper { fill: #ffffff } path { fill: none; stroke-width: 2 }
  ${SERIES_COLORS.map((color, i) => `.s${i} { stroke: ${color} } .t${i} { fill: ${color} }`).join(" ")}
  @media (prefers-color-scheme: dark) {
    text { fill: #e2e8f0 } .axis { fill: #a0aec0 } .grid { stroke: #2d3748 } .paper { fill: #171923 }
    ${DARK_SERIES_COLORS.map((color, i) => `.s${i} { stroke: ${color} } .t${i} { fill: ${color} }`).join(" ")}
  }`;

/** Ways that are drawn: anchors in between would hide each other. */
export const DRAWN_WAYS: readonly string[] = [
  "store",
  "recompute",
  "meft1",
  "meft3",
  PEER,
  PEER_CHECKPOINTED,
];

/** A series of shapes that differ in one size, and what is drawn of it. */
interface Panel {
  readonly head: string;
  readonly size: (shape: Shape) => number;
  readonly cells: readonly ActivationCell[];
}

/** SVG text: both scales by powers of two. @param ways Lines, in the order of the colours */
export function drawActivations(cells: readonly ActivationCell[], ways: readonly string[]): string {
  const drawn = cells.filter(({ way }) => ways.includes(way));
  const of = (series: string) => drawn.filter((cell) => cell.series === series);
  const all: Panel[] = [
    { head: "against layers", size: ({ layers }) => layers, cells: of("depth") },
    { head: "against tokens of a row", size: ({ length }) => length, cells: of("length") },
  ];
  const panels = all.filter(({ cells }) => new Set(cells.map(({ shape }) => shape)).size > 1);
  const each = HEAD + PANEL + AXIS + BETWEEN;
  const height = panels.length * each;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" ` +
    `role="img" aria-label="activations of a step at most, by way"><style>${STYLE}\n</style>` +
    `<rect class="paper" width="100%" height="100%"/>` +
    panels.map((panel, i) => drawPanel(panel, ways, i * each)).join("") + "</svg>\n";
}

function drawPanel({ head, size, cells }: Panel, ways: readonly string[], top: number): string {
  const sizes = [...new Set(cells.map(({ shape }) => size(shape)))].sort((a, b) => a - b);
  const logs = cells.map(({ peak }) => Math.log2(peak));
  const [from, to] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
  const [first, last] = [Math.log2(sizes[0] as number), Math.log2(sizes.at(-1) as number)];
  const x = (value: number) => LEFT + (Math.log2(value) - first) / (last - first) * (WIDTH - LEFT - RIGHT);
  const y = (bytes: number) => top + HEAD + PANEL * (1 - (Math.log2(bytes) - from) / (to - from));
  const grid = Array.from({ length: to - from + 1 }, (_, i) => 2 ** (from + i)).map((bytes) =>
    `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(bytes).toFixed(1)}" y2="${
      y(bytes).toFixed(1)
    }"/>` + text("axis", LEFT - 8, y(bytes) + 4, formatBytes(bytes), "end")
  );
  const ticks = sizes.map((value) =>
    text("axis", x(value), top + HEAD + PANEL + 16, value.toLocaleString("en"), "middle")
  );
  const lines = ways.map((way, i) => {
    const points = cells.filter((cell) => cell.way === way).map(({ shape, peak }) => [size(shape), peak])
      .sort(([a = 0], [b = 0]) => a - b).map(([at = 0, peak = 0]) => [x(at), y(peak)] as const);
    return { way, i, points };
  }).filter(({ points }) => points.length > 0);
  const ends = spread(lines.map(({ points }) => (points.at(-1) as readonly [number, number])[1]));
  const drawn = lines.map(({ way, i, points }, line) =>
    `<path class="s${i}" d="M${
      points.map((point) => point.map((at) => at.toFixed(1)).join(" ")).join("L")
    }"/>` +
    text(`t${i}`, WIDTH - RIGHT + 8, (ends[line] as number) + 4, way, "start")
  );
  return text("head", 8, top + 22, `Activations of a step at most, ${head}`, "start") + grid.join("") +
    ticks.join("") + drawn.join("");
}

/** Heights of names beside lines that end at these, none over another. */
function spread(heights: readonly number[]): number[] {
  const placed: number[] = [];
  const order = heights.map((height, i) => ({ height, i })).sort((a, b) => a.height - b.height);
  let above = -Infinity;
  for (const { height, i } of order) {
    above = Math.max(height, above + LINE);
    placed[i] = above;
  }
  return placed;
}

function text(kind: string, x: number, y: number, content: string, anchor: string): string {
  return `<text class="${kind}" x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${
    escapeHtml(content)
  }</text>`;
}
