// SPDX-License-Identifier: Apache-2.0
/** Results that print well: as HTML or SVG in a notebook cell, as text in a terminal. */
import type { Dataset } from "../data/dataset.ts";
import { formatPreview, previewExamples, type PreviewToken } from "../data/preview.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { visibleText } from "../core/visible_text.ts";
import { escapeHtml } from "./escape_html.ts";
import { memoryRows } from "./memory.ts";
import { formatTable } from "./table.ts";

/** What Deno's kernel asks an object for when it is the last value of a cell. */
const JUPYTER: unique symbol = Symbol.for("Jupyter.display");
/** What `console.log` asks for. */
const CONSOLE: unique symbol = Symbol.for("Deno.customInspect");

/** One result in several media types; who shows it takes the richest it can. */
export type MediaBundle = Readonly<Record<string, string>>;

/** A result that a notebook cell and `console.log` know how to show. */
export interface Display {
  readonly text: string;
  [JUPYTER](): MediaBundle;
  [CONSOLE](): string;
}

/** A result as text and as what a notebook shows. */
export function createDisplay(
  text: string,
  mediaType: "text/html" | "image/svg+xml",
  media: string,
): Display {
  const shown = visibleText(text);
  return {
    text: shown,
    [JUPYTER]: () => ({ [mediaType]: media, "text/plain": shown }),
    [CONSOLE]: () => shown,
  };
}

/** What a notebook would be given. */
export function mediaOf(display: Display): MediaBundle {
  return display[JUPYTER]();
}

/** A table whose first row is the head. */
export function table(rows: readonly (readonly (string | number)[])[]): Display {
  const cells = rows.map((row) => row.map(String));
  const line = (row: readonly string[], tag: "th" | "td") =>
    `<tr>${row.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join("")}</tr>`;
  const html = cells.map((row, i) => line(row, i === 0 ? "th" : "td")).join("\n");
  return createDisplay(formatTable(cells), "text/html", `<table>\n${html}\n</table>`);
}

/** Bytes by class with their sum: `(await predictMemory(run)).bytes`. */
export function memoryTable(bytes: Readonly<Partial<Record<string, number>>>): Display {
  return table(memoryRows(bytes));
}

const TARGET_STYLE = "background:#c7e9c0;color:#00441b;border-radius:3px";
const CONTEXT_STYLE = "color:#888";

/** The first examples of a data set, token by token: green ones are what the model is taught to say. */
export function tokenView(data: Dataset, model: { readonly tokenizer: Tokenizer }, count = 3): Display {
  const examples = previewExamples(data, model, count);
  const paragraphs = examples.map(({ tokens }) => `<p>${tokens.map(tokenHtml).join(" ")}</p>`);
  return createDisplay(formatPreview(examples, { color: false }), "text/html", paragraphs.join("\n"));
}

function tokenHtml({ text, id, loss }: PreviewToken): string {
  const shown = escapeHtml(text.replaceAll("\n", "↵").replaceAll(" ", "␣"));
  return `<code title="${id}" style="${loss ? TARGET_STYLE : CONTEXT_STYLE}">${shown}</code>`;
}
