// SPDX-License-Identifier: Apache-2.0
/// <reference lib="dom" />
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { formatBytes } from "../../lib/report/format.ts";
import { withFolder } from "../fixtures/folder.ts";
import { findBrowser, withPage } from "./browser.ts";
import { DEMO_FACTS, runCommandLine, SMALL_RUN, spawn } from "./command.ts";

const ignore = findBrowser() === null;
const MIB = 2 ** 20;

/** One panel as the browser has it: its axes and the corners of its lines, in its own pixels. */
interface Panel {
  readonly title: string;
  readonly xAxis: number[];
  readonly yAxis: number[];
  readonly lines: number[][][];
  /** Tick labels of the y axis with their height. */
  readonly ticks: { readonly text: string; readonly y: number }[];
  /** Shown size. */
  readonly width: number;
  readonly height: number;
}

/** Runs in the page. */
function readPanels(): Panel[] {
  return [...document.querySelectorAll<SVGElement>("svg[data-series]")].map((svg) => {
    const numbers = (text: string) => text.split(" ").map(Number);
    const paths = [...svg.querySelectorAll('[aria-label="line"] path')];
    const ticks = [...svg.querySelectorAll('[aria-label="y-axis tick label"] text')];
    const { width, height } = svg.getBoundingClientRect();
    return {
      title: svg.closest("figure")?.querySelector("figcaption")?.firstChild?.textContent?.trim() ?? "",
      xAxis: numbers(svg.dataset.xAxis ?? ""),
      yAxis: numbers(svg.dataset.yAxis ?? ""),
      lines: paths.map((path) =>
        [...(path.getAttribute("d") ?? "").matchAll(/(-?[\d.]+),(-?[\d.]+)/g)].map((
          [, x, y],
        ) => [Number(x), Number(y)])
      ),
      ticks: ticks.map((tick) => ({
        text: tick.textContent ?? "",
        y: Number(/,([\d.]+)\)/.exec(tick.getAttribute("transform") ?? "")?.[1]),
      })),
      width,
      height,
    };
  });
}

/** What each chart shows: metrics of the log in the order of its lines, and how many of their units one of its own is. */
const CHARTS: Readonly<Record<string, readonly [readonly string[], number]>> = {
  "Loss": [["loss", "evalLoss"], 1],
  "Learning rate": [["lr"], 1],
  "Gradient norm, before clipping": [["gradNorm"], 1],
  "Tokens a second": [["tokensPerSecond"], 1],
  "Time of a step, by lane": [["modelMs", "adapterMs", "optimizerMs"], 1],
  "Host memory held after a step": [["heldBytes"], MIB],
  "Neurons a layer": [["activeNeurons", "deadNeurons"], 1],
};

/** Pixel of a value on an axis of first and last value, first and last pixel. */
const pixelOf = (value: number, [v0, v1, p0, p1]: number[]) =>
  (p0 as number) +
  (value - (v0 as number)) / ((v1 as number) - (v0 as number)) * ((p1 as number) - (p0 as number));

function near(found: number | undefined, expected: number, what: string): void {
  ok(Math.abs((found ?? NaN) - expected) <= 0.5, `${what} is drawn at ${found}, expected ${expected}`);
}

function metricsOf(out: string): Record<string, number>[] {
  return Deno.readTextFileSync(`${out}/metrics.jsonl`).trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** Every point of every line of a chart stands where its metric says, and nothing else is drawn. */
function checkPanel(panel: Panel, metrics: readonly Record<string, number>[]): void {
  const [names, unit] = CHARTS[panel.title] ?? [[], 1];
  strictEqual(panel.lines.length, names.length, `lines of "${panel.title}"`);
  names.forEach((name, i) => {
    const measured = metrics.filter((line) => line[name] !== undefined);
    const line = panel.lines[i] as number[][];
    strictEqual(line.length, measured.length, `points of ${name}`);
    measured.forEach((values, at) => {
      const { step } = values as { step: number };
      near(line[at]?.[0], pixelOf(step, panel.xAxis), `step ${step} of ${name}`);
      near(line[at]?.[1], pixelOf(values[name] as number / unit, panel.yAxis), `${name} of step ${step}`);
    });
  });
  // The axis is labelled as it is said to run: a label is rounded to what it shows.
  ok(panel.ticks.length >= 2, `${panel.title} has ticks`);
  const span = Math.abs((panel.yAxis[1] as number) - (panel.yAxis[0] as number));
  for (const { text, y } of panel.ticks) {
    const value = Number(text.replaceAll(",", "").replace("−", "-"));
    if (span > 0) near(y, pixelOf(value, panel.yAxis), `tick ${text} of ${panel.title}`);
  }
  ok(panel.width > 300 && panel.height > 100, `${panel.title} is shown at ${panel.width} x ${panel.height}`);
}

/** Contrast of two colours as WCAG defines it; runs here on what the browser computed. */
function contrast(a: string, b: string): number {
  const luminance = (color: string) => {
    const [r = 0, g = 0, blue = 0] = (color.match(/[\d.]+/g) ?? []).slice(0, 3).map((part) => {
      const share = Number(part) / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * blue;
  };
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

Deno.test({
  name:
    "train's report.html shows the numbers of metrics.jsonl in a browser, by day and by night, without a complaint",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const out = `${folder}/a <run> & "more"`;
      const flags = ["train", ...SMALL_RUN, "--steps", "24", "--eval-data", DEMO_FACTS, "--eval-every", "8"];
      const trained = await runCommandLine(...flags, "--out", out);
      strictEqual(trained.code, 0, trained.stderr);
      const metrics = metricsOf(out);
      for (const scheme of ["light", "dark"] as const) {
        await withPage(async ({ page, complaints, requests }) => {
          const address = `file://${encodeURI(`${out}/report.html`)}`;
          await page.goto(address);
          strictEqual(await page.title(), 'a <run> & "more"');
          const panels = await page.evaluate(readPanels);
          deepStrictEqual(panels.map(({ title }) => title).sort(), Object.keys(CHARTS).sort());
          for (const panel of panels) checkPanel(panel, metrics);

          const load = (metrics.at(-1) as unknown as { expertLoad: number[][] }).expertLoad;
          const cells = await page.$$eval('[aria-label="cell"] rect title', (all) =>
            all.map((cell) => cell.textContent));
          strictEqual(cells.length, load.flat().length);
          const [first = []] = load;
          const mean = first.reduce((a, b) =>
            a + b, 0) / first.length;
          strictEqual(cells[1], `expert 1, layer 0: ${((first[1] as number) / mean).toPrecision(4)}`);

          const rows = await page.$$eval("#memory tbody tr", (all) =>
            all.map((row) =>
              [...row.children].map((cell) => cell.textContent)
            ));
          const peak = (metrics.at(-1) as unknown as { peakBytes: Record<string, number> }).peakBytes;
          const parameters = rows.find(([name]) => name === "parameters");
          strictEqual(parameters?.[2], formatBytes(peak.parameters as number));
          const answers = await page.$$eval("#examples tbody tr", (all) =>
            all.map((row) =>
              row.children.length
            ));
          deepStrictEqual(answers, [4, 4, 4, 4]);
          match(await page.$eval("#config", (part) => part.textContent ?? ""), /adapter\.topK16/);

          const seen = await page.evaluate(() => {
            const style = (selector: string) => getComputedStyle(document.querySelector(selector) as Element);
            return {
              paper: style("body").backgroundColor,
              ink: style("body").color,
              box: style("figure").backgroundColor,
              line: style('[aria-label="line"]').stroke,
            };
          });
          ok(
            contrast(seen.paper, "rgb(0,0,0)") > 15 === (scheme === "light"),
            `${scheme}: paper is ${seen.paper}`,
          );
          ok(contrast(seen.ink, seen.paper) >= 7, `${scheme}: ${seen.ink} on ${seen.paper}`);
          ok(contrast(seen.line, seen.box) >= 3, `${scheme}: a line of ${seen.line} on ${seen.box}`);

          const box = await (await page.$("svg[data-series]"))?.boundingBox();
          ok(box);
          await page.mouse.move(box.x + box.width - 20, box.y + box.height / 2);
          match(
            await page.$eval("#tip", (tip) => (tip as HTMLElement).innerText),
            /^step 24 {2}training [\d.]+\nstep 24 {2}evaluation [\d.]+$/,
          );
          deepStrictEqual(complaints, []);
          deepStrictEqual(requests, [address]);
        }, scheme);
      }
    }),
});

/** Reads a stream until the text has what is looked for. */
async function readUntil(stream: ReadableStream<Uint8Array>, pattern: RegExp): Promise<RegExpExecArray> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  for (let seen = "";;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`${pattern} is not in: ${seen}`);
    seen += decoder.decode(value, { stream: true });
    const found = pattern.exec(seen);
    if (found === null) continue;
    reader.releaseLock();
    return found;
  }
}

Deno.test({
  name: "train --watch shows the run in a browser as it goes on, and its end; Ctrl-C ends both",
  ignore,
  fn: () =>
    withFolder(async (folder) => {
      const child = spawn(["train", ...SMALL_RUN, "--steps", "100000", "--watch", "--out", `${folder}/run`]);
      const [url] = await readUntil(child.stdout, /http:\/\/127\.0\.0\.1:\d+\/[\w-]+\//);
      const rest = child.stdout.pipeTo(new WritableStream());
      await withPage(async ({ page, complaints }) => {
        await page.goto(url, { waitUntil: "domcontentloaded" });
        const step = () =>
          page.$eval("main", (main) => Number(/step (\d+) of 100000/.exec(main.textContent ?? "")?.[1]));
        const stepPast = (past: number) =>
          page.waitForFunction(
            (past) =>
              Number(/step (\d+) of 100000/.exec(document.querySelector("main")?.textContent ?? "")?.[1]) >
                past,
            { timeout: 60_000 },
            past,
          );
        await stepPast(0);
        strictEqual(await page.$eval("html", (html) => html.dataset.live), "on");
        await stepPast(await step());
        child.kill("SIGINT");
        await page.waitForFunction(() => document.documentElement.dataset.live === "ended", {
          timeout: 60_000,
        });
        strictEqual((await child.status).code, 130);
        const metrics = metricsOf(`${folder}/run`);
        strictEqual(await step(), metrics.length, "the page ends with the last step");
        deepStrictEqual(complaints, []);
      });
      await rest;
      await child.stderr.cancel();
      match(Deno.readTextFileSync(`${folder}/run/report.html`), /<html lang="en">/);
    }),
});
