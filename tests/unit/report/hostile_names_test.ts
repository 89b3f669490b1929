// SPDX-License-Identifier: Apache-2.0
/** Names of data, keys and models are text in pages, charts and notebooks: no tag, no order, nothing that turns text about. */
import { ok, strictEqual } from "node:assert/strict";
import { visibleText } from "../../../lib/core/visible_text.ts";
import { groupedBars, heatMap } from "../../../lib/report/chart.ts";
import { mediaOf, table } from "../../../lib/report/display.ts";
import { htmlTable, renderPage } from "../../../lib/report/html_page.ts";

const HOSTILE = '\u202e"><script>alert(1)</script>\x1b[2J\x9b\u2066';

/** Fails when a text holds a tag or an order that came from a name. */
function checkText(text: string, what: string): void {
  strictEqual(text, visibleText(text), what);
  ok(!text.includes("<script>alert"), what);
  ok(text.includes("\\u202e"), `${what} shows the name`);
}

Deno.test("pages, charts and displays show names that hold tags and orders as text", () => {
  const body = htmlTable([["setting", "value"], [HOSTILE, HOSTILE]]);
  checkText(renderPage({ title: HOSTILE, sections: [{ id: "a", heading: HOSTILE, body }] }), "page");
  const bars = groupedBars([{ group: HOSTILE, name: HOSTILE, value: 1 }], { x: HOSTILE, y: HOSTILE });
  checkText(bars.svg, "bars");
  const cells = [{ x: HOSTILE, y: HOSTILE, value: 1 }];
  checkText(heatMap(cells, { x: HOSTILE, y: HOSTILE, value: HOSTILE }).svg, "heat map");
  const shown = table([["name"], [HOSTILE]]);
  checkText(mediaOf(shown)["text/html"] ?? "", "table in a notebook");
  strictEqual(shown.text, visibleText(shown.text), "table as text");
});
