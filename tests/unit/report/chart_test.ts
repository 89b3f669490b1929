// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { barChart, heatMap, lineChart } from "../../../lib/report/chart.ts";
import { type Display, mediaOf, memoryTable, table } from "../../../lib/report/display.ts";
import { intervalChart } from "../../../lib/report/interval_chart.ts";
import { liveChart } from "../../../lib/report/live_chart.ts";
import { memoryRows } from "../../../lib/report/memory.ts";

/** Corners of the first line of a chart, in pixels. */
function lineCorners(svg: string): number[][] {
  const path = /aria-label="line"[^>]*><path d="([^"]*)"/.exec(svg)?.[1] ?? "";
  return [...path.matchAll(/([\d.]+),([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
}

Deno.test("lineChart() places points by their values, on one SVG that stands alone", () => {
  const { svg } = lineChart([{ x: 1, y: 0 }, { x: 2, y: 4 }, { x: 3, y: 2 }], { x: "step", y: "loss" });
  match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="640"/);
  const [first, second, third] = lineCorners(svg) as [number[], number[], number[]];
  strictEqual(2 * (second[0] as number), (first[0] as number) + (third[0] as number));
  strictEqual(2 * (third[1] as number), (first[1] as number) + (second[1] as number));
  ok((second[1] as number) < (first[1] as number), "larger values stand higher");
});

Deno.test("lineChart() leaves a gap where a value is not finite, and draws nothing of nothing", () => {
  const points = [1, 2, NaN, 4, 5].map((y, x) => ({ x, y }));
  const { svg } = lineChart(points, { x: "x", y: "y" });
  strictEqual(
    /<path d="([^"]*)" ?\/?>/.exec(svg.slice(svg.indexOf('aria-label="line"')))?.[1]?.match(/M/g)?.length,
    2,
  );
  strictEqual(lineCorners(lineChart([], { x: "x", y: "y" }).svg).length, 0);
});

/** Heights of the corners of a chart's first band, in pixels. */
function bandHeights(svg: string): number[] {
  const path = /aria-label="area"[^>]*><path d="([^"]*)"/.exec(svg)?.[1] ?? "";
  return [...path.matchAll(/,([\d.]+)/g)].map(([, y]) => Number(y));
}

Deno.test("lineChart() draws long lines by their means, in a band that shows a spike of one value", () => {
  const values = (spike: number) =>
    Array.from({ length: 100_000 }, (_, x) => ({ x, y: x === 60_000 ? spike : 2 }));
  const flat = lineChart(values(2), { x: "step", y: "loss" }).svg;
  const spiked = lineChart(values(9), { x: "step", y: "loss" }).svg;
  for (const svg of [flat, spiked]) ok(lineCorners(svg).length <= 320);
  strictEqual(new Set(bandHeights(flat)).size, 1);
  const heights = bandHeights(spiked);
  // A spike's mean over 512 values would be 2 % of the axis.
  const axis = /data-y-axis="([^"]*)"/.exec(spiked)?.[1]?.split(" ").map(Number) as number[];
  deepStrictEqual([axis[0], axis[1]], [2, 9]);
  strictEqual(Math.min(...heights), axis[3]);
  strictEqual(bandHeights(lineChart([{ x: 1, y: 1 }, { x: 2, y: 3 }], { x: "x", y: "y" }).svg).length, 0);
});

Deno.test("panels stand below each other, each as high as it is, in one picture that says its newest values", async () => {
  const { svg } = lineChart([{ x: 1, y: 2 }], { x: "step", y: "loss" });
  match(svg, / width="640" height="200" viewBox="0 0 640 200"><rect [^>]*\/?>(<\/rect>)?<svg y="0" /);
  const chart = liveChart(["loss", "lr", "evalLoss"]);
  await chart.push({ step: 1, loss: 2.34567, lr: 0.00012345, evalLoss: null });
  const { svg: panels, text } = chart.draw();
  match(panels, / width="640" height="600" viewBox="0 0 640 600">/);
  deepStrictEqual([...panels.matchAll(/<svg y="(\d+)"/g)].map(([, y]) => y), ["0", "200", "400"]);
  strictEqual(text, "loss 2.346, lr 0.0001234, evalLoss not yet measured");
  const legend =
    intervalChart([{ name: "a", points: [] }, { name: "b", points: [] }], { x: "x", y: "y" }).svg;
  deepStrictEqual([...legend.matchAll(/<svg y="(\d+)"/g)].map(([, y]) => y), ["0", "18"]);
  match(legend, / height="278" viewBox="0 0 640 278">/);
});

Deno.test("a legend takes as many rows as its names need, and none of them leaves the picture", () => {
  const names = Array.from({ length: 7 }, (_, i) => `${"name ".repeat(4)}${i}`);
  const { svg } = intervalChart(names.map((name) => ({ name, points: [] })), { x: "x", y: "y" });
  const places = [...svg.matchAll(/<text x="([\d.]+)" y="([\d.]+)"[^>]*>name/g)].map((
    [, x, y],
  ) => [Number(x), Number(y)]);
  strictEqual(places.length, names.length);
  const rows = [...new Set(places.map(([, y]) => y))];
  ok(rows.length > 1);
  deepStrictEqual(rows, rows.map((_, i) => 13 + 18 * i));
  for (const [x = NaN] of places) {
    ok(x + 6.5 * names[0]!.length <= 640, `a name of ${names[0]!.length} letters at ${x}`);
  }
  for (const row of rows) {
    const xs = places.filter(([, y]) => y === row).map(([x]) => x as number);
    xs.slice(1).forEach((x, i) => ok(x - xs[i]! > 6 * names[0]!.length, "names do not lie on each other"));
  }
});

Deno.test("barChart() draws bars as high as their values, in their order, from 0", () => {
  const { svg } = barChart(Int32Array.of(3, 0, 7), { x: "expert", y: "tokens" });
  const bars = [...svg.slice(svg.indexOf('aria-label="rect"')).matchAll(/<rect [^>]*>/g)].map(([tag]) =>
    ["x", "height"].map((name) => Number(new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1]))
  );
  const [three, zero, seven] = bars as [number[], number[], number[]];
  strictEqual(zero[1], 0);
  ok(Math.abs(three[1]! / seven[1]! - 3 / 7) <= 1e-6);
  ok(three[0]! < zero[0]! && zero[0]! < seven[0]!);
  match(svg, />↑ tokens<.*>expert/s);
});

Deno.test("barChart() and heatMap() draw one mark a value", () => {
  const bars = barChart(Int32Array.of(3, 0, 7), { x: "expert", y: "tokens" }).svg;
  strictEqual(bars.slice(bars.indexOf('aria-label="rect"')).match(/<rect /g)?.length, 3);
  const cells = [0, 1, 2, 3, 4, 5].map((value) => ({ x: value % 3, y: `fact <${value % 2}>`, value }));
  const heat = heatMap(cells, { x: "neuron", y: "", value: "fires" }).svg;
  strictEqual(heat.slice(heat.indexOf('aria-label="cell"')).match(/<rect /g)?.length, 6);
  match(heat, /fact &lt;1&gt;/);
});

Deno.test("liveChart() redraws now and then, at the last step, and what is left at finish()", async () => {
  const drawn: Display[] = [];
  let nowMs = 0;
  const redraw = (display: Display) => {
    drawn.push(display);
    return Promise.resolve();
  };
  const chart = liveChart(["loss", "evalLoss"], { redraw, now: () => nowMs });
  const push = (step: number) =>
    chart.push({ step, totalSteps: 9, loss: 1 / step, evalLoss: step === 2 ? 5 : null });
  await push(1);
  nowMs = 249;
  await push(2);
  strictEqual(drawn.length, 1);
  nowMs = 250;
  await push(3);
  strictEqual(drawn.length, 2);
  await push(4);
  await chart.finish();
  await chart.finish();
  strictEqual(drawn.length, 3);
  await push(9);
  strictEqual(drawn.length, 4);
  strictEqual(drawn.at(-1)?.text, "loss 0.1111, evalLoss 5.000");
  strictEqual(lineCorners(chart.draw().svg).length, 5);
});

Deno.test("liveChart() of a long run draws few points and says the newest value", async () => {
  const chart = liveChart(["loss"]);
  for (let step = 1; step <= 5000; step++) await chart.push({ step, totalSteps: 5000, loss: step });
  const { svg, text } = chart.draw();
  ok(lineCorners(svg).length <= 320);
  strictEqual(text, "loss 5000");
});

Deno.test("liveChart() outside a notebook shows nothing; a metric that is not there is named", async () => {
  const chart = liveChart(["loss"]);
  await chart.push({ step: 1, totalSteps: 1, loss: 2 });
  match(chart.draw().svg, /aria-label="line"/);
  const wrong = liveChart(["los"]) as unknown as typeof chart;
  await rejects(wrong.push({ step: 1, loss: 2 }), /no metric "los": it has step, loss/);
});

Deno.test("table() and memoryTable() are HTML for a notebook, and text elsewhere, with nothing left to be a tag", () => {
  const shown = table([["question", "answer"], ["<b>&", 7]]);
  const media = mediaOf(shown);
  match(media["text/html"] as string, /<th>question<\/th>.*\n.*<td>&lt;b&gt;&amp;<\/td><td>7<\/td>/);
  strictEqual(media["text/plain"], shown.text);
  strictEqual(Deno.inspect(shown), shown.text);
  match(memoryTable({ weights: 1536, optimizer: 512 }).text, /together\s+2\.00 KiB$/);
});

Deno.test("memoryRows() calls growth what adds more than a hundredth", () => {
  const rows = (start: number) => memoryRows({ optimizer: 102_400 }, { optimizer: start })[1]?.[1];
  strictEqual(rows(101_376), "100.00 KiB");
  strictEqual(rows(101_375), "about 99.00 KiB, grows to 100.00 KiB at most");
  strictEqual(rows(204_800), "100.00 KiB");
});

Deno.test("memoryRows() tells of a class that grows where it begins and what it becomes at most, and of the sum", () => {
  const most = { weights: 4096, parameters: 2048, optimizer: 1024 };
  deepStrictEqual(memoryRows(most, { weights: 0, parameters: 1024.4, optimizer: 1023 }), [
    ["host memory", "predicted"],
    ["weights", "4.00 KiB"],
    ["parameters", "about 1.00 KiB, grows to 2.00 KiB at most"],
    ["optimizer", "1.00 KiB"],
    ["together", "about 6.00 KiB, grows to 7.00 KiB at most"],
  ]);
});
