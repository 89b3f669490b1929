// SPDX-License-Identifier: Apache-2.0
/**
 * Reports as one HTML file each: style, script and pictures inside, readable by day and by night, offline for good. The page's
 * own policy forbids every connection, but for one to its own server where a run is watched.
 */
import type { Chart } from "./chart.ts";
import { PAGE_SCRIPT, PAGE_STYLE } from "./html_page_assets.ts";
import { escapeHtml } from "./escape_html.ts";
import { SERIES_COLORS } from "./palette.ts";
import { looksNumeric } from "./table.ts";

/** Markup that may stand in a page as it is: made by {@linkcode markup}, which escapes what it is given. */
export interface Markup {
  readonly html: string;
}

/** What can be put into markup: text is escaped, markup is kept, lists are joined. */
export type Content = string | number | Markup | readonly Content[];

/** A part of a page, below a heading. */
export interface PageSection {
  /** Unique in the page: anchor of the section. */
  readonly id: string;
  readonly heading: string;
  readonly body: Content;
}

/** A page. */
export interface Page {
  readonly title: string;
  /** Stands below the title. */
  readonly summary?: Content;
  readonly sections: readonly PageSection[];
}

/** Markup from a template: markup`<p>${text}</p>` escapes `text`. */
export function markup(parts: TemplateStringsArray, ...contents: readonly Content[]): Markup {
  return { html: parts.reduce((text, part, i) => text + htmlOf(contents[i - 1] as Content) + part) };
}

/** A chart with its title above and, where there is something to say, a note below. */
export function figure(chart: Chart, title: Content, note: Content = ""): Markup {
  return markup`<figure><figcaption>${title}</figcaption>${{ html: chart.svg }}${
    note === "" ? "" : markup`<p class="note">${note}</p>`
  }</figure>`;
}

/** A chart of several series, with what each colour means in its title. */
export function legendFigure(
  chart: Chart,
  title: string,
  names: readonly string[],
  note: Content = "",
): Markup {
  if (names.length < 2) return figure(chart, title, note);
  const keys = names.map((name, i) =>
    markup`<span><i class="swatch-${i % SERIES_COLORS.length}"></i>${name}</span>`
  );
  return figure(chart, markup`${title} <span class="legend">${keys}</span>`, note);
}

/** A table whose first row is the head. Columns of numbers are right-aligned. */
export function htmlTable(rows: readonly (readonly (string | number | Markup)[])[]): Markup {
  const [head = [], ...body] = rows;
  const numeric = head.map((_, column) =>
    body.length > 0 && body.every((row) => {
      const cell = row[column] ?? "";
      return typeof cell === "number" || (typeof cell === "string" && looksNumeric(cell));
    })
  );
  const cells = (row: readonly (string | number | Markup)[], tag: "th" | "td") =>
    row.map((cell, column) => ({
      html: `<${tag}${numeric[column] ? ' class="number"' : ""}>${htmlOf(cell)}</${tag}>`,
    }));
  const lines = body.map((row) => markup`<tr>${cells(row, "td")}</tr>\n`);
  const top = cells(head, "th");
  return markup`<div class="scroll"><table><thead><tr>${top}</tr></thead><tbody>${lines}</tbody></table></div>`;
}

/** Something long that is shown when asked for. */
export function folded(summary: string, body: Content): Markup {
  return markup`<details><summary>${summary}</summary>${body}</details>`;
}

/** What changes while a page is watched: everything below `<body>` that people read. */
export function pageBody({ title, summary = "", sections }: Page): string {
  const body = sections.map(({ id, heading, body }) =>
    markup`<section id="${id}"><h2>${heading}</h2>${body}</section>\n`
  );
  return markup`<header><h1>${title}</h1><div class="summary">${summary}</div></header>\n${body}`.html;
}

/**
 * The whole file.
 *
 * @param live Whether the page asks the server it came from for news, at `events`
 */
export function renderPage(page: Page, { live = false }: { readonly live?: boolean } = {}): string {
  return wrapBody(page.title, pageBody(page), live);
}

/** A page around a body that {@linkcode pageBody} made. */
export function wrapBody(title: string, body: string, live: boolean): string {
  const policy =
    `default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; ` +
    `connect-src ${live ? "'self'" : "'none'"}; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en"${live ? ' data-live="connecting"' : ""}>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${escapeHtml(title)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>${body}</main>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`;
}

function htmlOf(content: Content): string {
  if (typeof content === "string") return escapeHtml(content);
  if (typeof content === "number") return String(content);
  if ("html" in content) return content.html;
  return content.map(htmlOf).join("");
}
