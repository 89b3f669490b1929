// SPDX-License-Identifier: Apache-2.0
/// <reference lib="dom" />
/** Reads a report page as its reader sees it: headings, figures with what is drawn in them, tables. */
import { parseHTML } from "linkedom";

/** Tick of an axis: what stands there, and its pixel. */
export interface Tick {
  readonly text: string;
  readonly at: number;
}

/** A chart with what stands around it. */
export interface Figure {
  readonly title: string;
  readonly legend: readonly string[];
  readonly note: string;
  /** Of the panel's own values, by name, as the page's script reads them. */
  readonly series: readonly { readonly name: string; readonly points: readonly (number | null)[][] }[];
  readonly xName: string;
  /** First and last value, then their pixels. */
  readonly xAxis: readonly number[];
  readonly yAxis: readonly number[];
  /** What stands at the axes, with Plot's arrows. */
  readonly xLabel: string;
  readonly yLabel: string;
  readonly xTicks: readonly Tick[];
  readonly yTicks: readonly Tick[];
  /** Corners of every line, in pixels, with its colour. */
  readonly lines: readonly {
    readonly stroke: string;
    readonly corners: readonly (readonly [number, number])[];
  }[];
  /** Centres of dots, in pixels, with what each says. */
  readonly dots: readonly {
    readonly x: number;
    readonly y: number;
    readonly fill: string;
    readonly title: string;
  }[];
  /** Bars or cells: where, and what each says. */
  readonly boxes: readonly { readonly width: number; readonly fill: string; readonly title: string }[];
  readonly svg: Element;
}

/** A section of a page. */
export interface Section {
  readonly heading: string;
  readonly figures: readonly Figure[];
  /** Rows of texts, the head first. */
  readonly tables: readonly (readonly (readonly string[])[])[];
  readonly text: string;
}

/** A page. */
export interface ReadPage {
  readonly title: string;
  readonly heading: string;
  readonly summary: readonly string[];
  readonly sections: Readonly<Record<string, Section>>;
}

/** A page's HTML as its reader sees it. */
export function readPage(html: string): ReadPage {
  const { document } = parseHTML(html) as unknown as { document: Document };
  return {
    title: textOf(document.querySelector("title")),
    heading: textOf(document.querySelector("h1")),
    summary: readSummary(document.querySelector(".summary")),
    sections: Object.fromEntries(
      [...document.querySelectorAll("section")].map((section) => [section.id, readSection(section)]),
    ),
  };
}

/** A chart alone. */
export function readChart(svg: string): Figure {
  const { document } = parseHTML(
    `<body><figure><figcaption></figcaption>${svg}</figure></body>`,
  ) as unknown as {
    document: Document;
  };
  return readFigure(document.querySelector("figure") as Element);
}

function textOf(element: Element | null): string {
  return element?.textContent?.trim() ?? "";
}

function readSummary(summary: Element | null): string[] {
  const paragraphs = [...summary?.querySelectorAll("p") ?? []];
  return paragraphs.length > 0 ? paragraphs.map(textOf) : [textOf(summary)];
}

function readSection(section: Element): Section {
  return {
    heading: textOf(section.querySelector("h2")),
    figures: [...section.querySelectorAll("figure")].map(readFigure),
    tables: [...section.querySelectorAll("table")].map((table) =>
      [...table.querySelectorAll("tr")].map((row) => [...row.children].map((cell) => cell.textContent ?? ""))
    ),
    text: textOf(section),
  };
}

function numbersOf(text: string | null): number[] {
  return (text ?? "").split(" ").map(Number);
}

function numberOf(element: Element, name: string): number {
  return Number(element.getAttribute(name) ?? NaN);
}

function readFigure(figure: Element): Figure {
  const caption = figure.querySelector("figcaption") as Element;
  const svg = figure.querySelector("svg svg[data-series]") ??
    [...figure.querySelectorAll("svg svg")].at(-1) as Element;
  const all = (selector: string) => [...svg.querySelectorAll(selector)];
  const label = (axis: string) => all(`[aria-label="${axis}-axis label"] text`).map(textOf).join();
  const ticks = (axis: "x" | "y"): Tick[] =>
    all(`[aria-label="${axis}-axis tick label"] text`).map((tick) => {
      const [x = NaN, y = NaN] = (tick.getAttribute("transform") ?? "").match(/-?[\d.]+/g)?.map(Number) ?? [];
      return { text: textOf(tick), at: axis === "x" ? x : y };
    });
  return {
    title: caption.firstChild?.textContent?.trim() ?? "",
    legend: [...caption.querySelectorAll(".legend span")].map(textOf),
    note: textOf(figure.querySelector(".note")),
    series: JSON.parse(svg.getAttribute("data-series") ?? "[]"),
    xName: svg.getAttribute("data-x-name") ?? "",
    xAxis: numbersOf(svg.getAttribute("data-x-axis")),
    yAxis: numbersOf(svg.getAttribute("data-y-axis")),
    xLabel: label("x"),
    yLabel: label("y"),
    xTicks: ticks("x"),
    yTicks: ticks("y"),
    lines: all('[aria-label="line"]').map((line) => ({
      stroke: line.getAttribute("stroke") ?? "",
      corners: [...(line.querySelector("path")?.getAttribute("d") ?? "").matchAll(/(-?[\d.]+),(-?[\d.]+)/g)]
        .map(([, x, y]) => [Number(x), Number(y)] as const),
    })),
    dots: all('[aria-label="dot"]').flatMap((group) =>
      [...group.querySelectorAll("circle")].map((dot) => ({
        x: numberOf(dot, "cx"),
        y: numberOf(dot, "cy"),
        fill: group.getAttribute("fill") ?? "",
        title: textOf(dot.querySelector("title")),
      }))
    ),
    boxes: all('[aria-label="bar"] rect, [aria-label="cell"] rect').map((box) => ({
      width: numberOf(box, "width"),
      fill: box.getAttribute("fill") ?? "",
      title: textOf(box.querySelector("title")),
    })),
    svg,
  };
}
