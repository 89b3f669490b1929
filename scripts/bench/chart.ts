// SPDX-License-Identifier: Apache-2.0
/** Bar charts as SVG text. */
import { escapeHtml } from "../../lib/report/escape_html.ts";

/** A bar of one or more stacked pieces. */
export interface Bar {
  readonly label: string;
  readonly pieces: readonly { readonly name: string; readonly value: number }[];
}

const COLORS = [
  "#4269d0",
  "#efb118",
  "#ff725c",
  "#6cc5b0",
  "#3ca951",
  "#ff8ab7",
  "#a463f2",
  "#97bbf5",
  "#9c6b4e",
  "#9498a0",
  "#2f3e6e",
  "#8a5a00",
  "#c0c0c0",
] as const;
const [LABEL_WIDTH, BAR_WIDTH, ROW, LEGEND] = [230, 560, 22, 150] as const;

/** Horizontal bars on one scale from 0, with a legend of the pieces. */
export function barChart(title: string, unit: string, bars: readonly Bar[]): string {
  const names = [...new Set(bars.flatMap(({ pieces }) => pieces.map(({ name }) => name)))];
  const total = (bar: Bar) => bar.pieces.reduce((sum, { value }) => sum + value, 0);
  const scale = BAR_WIDTH / Math.max(1e-9, ...bars.map(total));
  const color = (name: string) => COLORS[names.indexOf(name) % COLORS.length] as string;
  const rows = bars.map((bar, i) => {
    const y = 34 + i * ROW;
    let x: number = LABEL_WIDTH;
    const rects = bar.pieces.map(({ name, value }) => {
      const width = value * scale;
      const rect =
        `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${ROW - 6}" fill="${
          color(name)
        }">` +
        `<title>${escapeHtml(name)}: ${value.toFixed(1)} ${unit}</title></rect>`;
      x += width;
      return rect;
    });
    return text(LABEL_WIDTH - 8, y + 12, bar.label, "end") + rects.join("") +
      text(x + 6, y + 12, `${total(bar).toPrecision(4)} ${unit}`);
  });
  const legend = names.map((name, i) => {
    const y = 34 + i * 18;
    const x = LABEL_WIDTH + BAR_WIDTH + 90;
    return `<rect x="${x}" y="${y}" width="12" height="12" fill="${color(name)}"/>${
      text(x + 18, y + 11, name)
    }`;
  });
  const height = 44 + Math.max(bars.length * ROW, names.length * 18);
  const width = LABEL_WIDTH + BAR_WIDTH + 90 + LEGEND;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>`,
    `<text x="8" y="20" font-size="14" font-weight="bold">${escapeHtml(title)}</text>`,
    ...rows,
    ...legend,
    "</svg>\n",
  ].join("\n");
}

function text(x: number, y: number, content: string, anchor = "start"): string {
  return `<text x="${x.toFixed(1)}" y="${y}" text-anchor="${anchor}">${escapeHtml(content)}</text>`;
}
