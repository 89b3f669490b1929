// SPDX-License-Identifier: Apache-2.0
/** Style and script of every report page, as text: a page holds all it needs. */

import { DARK_SERIES_COLORS, SERIES_COLORS } from "./palette.ts";

/** `--series-0: …; --series-1: …;` */
const variables = (colors: readonly string[]) =>
  colors.map((color, i) => `--series-${i}: ${color};`).join(" ");

/** What a chart has drawn in a series' colour takes the page's. */
const SERIES_RULES = SERIES_COLORS.map((color, i) =>
  `figure svg [stroke="${color}"] { stroke: var(--series-${i}); } figure svg [fill="${color}"] { fill: var(--series-${i}); }
.swatch-${i} { background: var(--series-${i}); }`
).join("\n");

/** Light as it is, dark where the reader's system is. */
export const PAGE_STYLE = `
:root {
  --paper: #ffffff; --ink: #1a202c; --faint: #5a6578; --rule: #d8dee8; --box: #f5f7fa;
  ${variables(SERIES_COLORS)}
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #12161d; --ink: #e6eaf0; --faint: #9aa6b8; --rule: #2e3745; --box: #1a202a;
    ${variables(DARK_SERIES_COLORS)} }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1360px; margin: 0 auto; padding: 24px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 32px 0 12px; padding-bottom: 4px; border-bottom: 1px solid var(--rule); }
.summary, .note { color: var(--faint); }
.note { font-size: 13px; margin: 4px 0 0; max-width: 640px; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr)); gap: 16px; }
figure { margin: 0; padding: 12px; background: var(--box); border: 1px solid var(--rule); border-radius: 6px; position: relative; }
figcaption { font-weight: 600; margin-bottom: 4px; }
figure svg { max-width: 100%; height: auto; display: block; color: var(--ink); }
figure svg .paper { fill: transparent; }
${SERIES_RULES}
.legend span { margin-right: 12px; font-weight: normal; font-size: 13px; color: var(--faint); }
.legend i { display: inline-block; width: 12px; height: 3px; margin-right: 5px; vertical-align: middle; }
.scroll { overflow-x: auto; margin-bottom: 12px; }
table { border-collapse: collapse; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 4px 16px 4px 0; border-bottom: 1px solid var(--rule); }
td { white-space: pre-wrap; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: var(--box); border: 1px solid var(--rule); border-radius: 6px; padding: 12px; overflow-x: auto; font-size: 13px; }
summary { cursor: pointer; color: var(--faint); }
#tip { position: fixed; pointer-events: none; background: var(--ink); color: var(--paper); padding: 2px 8px;
  border-radius: 4px; font-size: 13px; font-variant-numeric: tabular-nums; white-space: pre; display: none; z-index: 2; }
html[data-live]::after { position: fixed; right: 12px; bottom: 12px; padding: 2px 10px; border-radius: 12px; font: 13px system-ui, sans-serif;
  background: var(--box); border: 1px solid var(--rule); color: var(--faint); }
html[data-live="connecting"]::after { content: "connecting"; }
html[data-live="on"]::after { content: "live"; color: #2f9e44; }
html[data-live="ended"]::after { content: "the run has ended"; }
html[data-live="lost"]::after { content: "the run cannot be reached"; color: #d9480f; }
@media print { .figures { grid-template-columns: 1fr 1fr; } figure { break-inside: avoid; } html[data-live]::after { display: none; } }
`;

/**
 * Shows the values under the pointer, which panels carry as `data-series` (`seriesChart` in `chart.ts`). Where the page is
 * watched, it takes each new body as it comes.
 */
export const PAGE_SCRIPT = `
"use strict";
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  document.body.append(tip);
  const number = (value) => Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
  addEventListener("pointermove", (event) => {
    const drawing = event.target instanceof Element ? event.target.closest("figure svg") : null;
    const panel = drawing?.closest("figure").querySelector("svg[data-series]");
    tip.style.display = "none";
    if (!panel) return;
    const matrix = panel.getScreenCTM();
    if (matrix === null) return;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    const [x0, x1, left, right] = panel.dataset.xAxis.split(" ").map(Number);
    const x = x0 + (at.x - left) / (right - left) * (x1 - x0);
    const lines = [];
    for (const { name, points } of JSON.parse(panel.dataset.series)) {
      let nearest = null;
      for (const point of points) {
        if (point[1] !== null && (nearest === null || Math.abs(point[0] - x) < Math.abs(nearest[0] - x))) nearest = point;
      }
      if (nearest === null) continue;
      const band = nearest.length > 2 ? " (" + number(nearest[2]) + " to " + number(nearest[3]) + ")" : "";
      lines.push(panel.dataset.xName + " " + number(nearest[0]) + "  " + name + " " + number(nearest[1]) + band);
    }
    if (lines.length === 0) return;
    tip.textContent = lines.join("\\n");
    tip.style.display = "block";
    tip.style.left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = (event.clientY + 16) + "px";
  });

  const root = document.documentElement;
  if (root.dataset.live === undefined) return;
  const main = document.querySelector("main");
  const events = new EventSource("events");
  events.onopen = () => { root.dataset.live = "on"; };
  events.onerror = () => {
    if (root.dataset.live === "ended") events.close();
    else root.dataset.live = "lost";
  };
  events.addEventListener("body", (event) => {
    const open = [...main.querySelectorAll("details")].map((details) => details.open);
    main.innerHTML = JSON.parse(event.data);
    main.querySelectorAll("details").forEach((details, i) => { details.open = open[i] === true; });
  });
  // The server closes the stream after this. Closing it here too would race with that, and at times abort the request.
  events.addEventListener("end", () => { root.dataset.live = "ended"; });
})();
`;
