// SPDX-License-Identifier: Apache-2.0
import { doesNotMatch, match, strictEqual } from "node:assert/strict";
import { lineChart } from "../../../lib/report/chart.ts";
import { figure, folded, htmlTable, markup, renderPage } from "../../../lib/report/html_page.ts";

Deno.test("markup`` escapes text, keeps markup, joins lists", () => {
  const cells = ["<b>", 'a "quote" & more'].map((text) => markup`<td>${text}</td>`);
  strictEqual(
    markup`<tr>${cells}${3}</tr>`.html,
    "<tr><td>&lt;b&gt;</td><td>a &quot;quote&quot; &amp; more</td>3</tr>",
  );
});

Deno.test("htmlTable() right-aligns columns of numbers alone", () => {
  const { html } = htmlTable([["name", "bytes"], ["1 of <x>", "2.5 KiB"], ["keys", 12]]);
  match(html, /<th>name<\/th><th class="number">bytes<\/th>/);
  match(html, /<td>1 of &lt;x&gt;<\/td><td class="number">2.5 KiB<\/td>/);
});

Deno.test("renderPage() holds all it needs and asks nothing of a network", () => {
  const chart = lineChart([{ x: 1, y: 2 }, { x: 2, y: 1 }], { x: "step", y: "loss" });
  const page = {
    title: "runs/<facts>",
    summary: "sparse",
    sections: [{
      id: "loss",
      heading: "Loss",
      body: [figure(chart, "loss"), folded("more", markup`<pre>x</pre>`)],
    }],
  };
  const text = renderPage(page);
  match(text, /<title>runs\/&lt;facts&gt;<\/title>/);
  match(text, /<h1>runs\/&lt;facts&gt;<\/h1>/);
  match(text, /connect-src 'none'/);
  match(text, /prefers-color-scheme: dark/);
  // Names of formats look like addresses; nothing else may.
  doesNotMatch(text.replaceAll("http://www.w3.org/", ""), /https?:|\bsrc=|url\(|@import/);
  strictEqual(text.match(/<script>/g)?.length, 1);
  match(text, /<html lang="en">/);
  const live = renderPage(page, { live: true });
  match(live, /<html lang="en" data-live="connecting">/);
  match(live, /connect-src 'self'/);
});
