// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, notStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { type ReadMetrics, readNewMetrics } from "../../../lib/report/metrics_index.ts";
import { renewRunReport, writeRunReport } from "../../../lib/report/run_report.ts";
import { openMetrics } from "../../../lib/train/metrics_log.ts";
import { countReadBytes } from "../../fixtures/count_reads.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { assertSame } from "../../compare.ts";

const MIB = 2 ** 20;

function lineOf(step: number, run = "a"): string {
  const line = {
    step,
    totalSteps: 1e7,
    loss: 2 + Math.sin(step) / (1 + step / 1e4) + (step === 5000 ? 90 : 0) + (run === "b" ? 1 : 0),
    lr: 1e-3,
    gradNorm: 1 + (step % 7),
    tokensPerSecond: 1000 + step % 13,
    modelMs: 3.25,
    heldBytes: 4096,
    ...(step % 1000 === 0 &&
      { evalLoss: 1 / step, peakBytes: { weights: step }, expertLoad: [[step, 0, 3]] }),
    time: 1.7e9 + step,
    padding: run.padEnd(1500, "-"),
  };
  return JSON.stringify(line) + "\n";
}

function linesOf(first: number, last: number, run?: string): string {
  return Array.from({ length: last - first + 1 }, (_, i) => lineOf(first + i, run)).join("");
}

function append(folder: string, text: string): void {
  Deno.writeTextFileSync(join(folder, "metrics.jsonl"), text, { append: true });
}

const INDEX = ".metrics-index.json";
const indexOf = (folder: string) => join(folder, INDEX);

function hasIndex(folder: string): boolean {
  return [...Deno.readDirSync(folder)].some(({ name }) => name === INDEX);
}

/** As a process reads that has no index. */
async function readAnew(folder: string): Promise<ReadMetrics["summary"]> {
  if (hasIndex(folder)) Deno.removeSync(indexOf(folder));
  return (await readNewMetrics(folder, null)).summary;
}

Deno.test("readNewMetrics() gives the same whether a log is read at once, as it grows, or from an index", () =>
  withFolder(async (folder) => {
    const first = await readNewMetrics(folder, null);
    deepStrictEqual([first.summary.last, first.offset], [null, 0]);
    append(folder, linesOf(1, 5));
    let grown = await readNewMetrics(folder, first);
    strictEqual(grown.summary.last?.step, 5);
    append(folder, linesOf(6, 10_000) + '{"step":10001,"lo');
    let processes = await readNewMetrics(folder, null);
    grown = await readNewMetrics(folder, grown);
    ok(hasIndex(folder));
    append(folder, `ss":3}\n\n{"step"\n${linesOf(10_002, 10_900)}`);
    grown = await readNewMetrics(folder, grown);
    processes = await readNewMetrics(folder, null);
    const atOnce = await readAnew(folder);
    assertSame(grown.summary, atOnce);
    assertSame(processes.summary, atOnce);
    const { last, evalLoss, peakBytes, damagedLines, series } = atOnce;
    deepStrictEqual([last?.step, evalLoss, peakBytes, damagedLines], [
      10_900,
      1 / 10_000,
      { weights: 10_000 },
      1,
    ]);
    strictEqual(Math.max(...series.loss.points.map(({ high = 0 }) => high)) > 90, true, "a spike is kept");
  }));

Deno.test("writeRunReport() reads what is new, in a new process too, and its page has one size", () =>
  withFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "run.json"), '{"method":"sparse","predictedBytes":{"weights":1}}');
    append(folder, linesOf(1, 2000));
    const short = Deno.readTextFileSync(await writeRunReport(folder));
    ok(!hasIndex(folder), "a short log needs no index");
    append(folder, linesOf(2001, 15_000));
    const size = Deno.statSync(join(folder, "metrics.jsonl")).size;
    ok(await countReadBytes(() => writeRunReport(folder)) >= size);
    const reads = [];
    for (let step = 15_001; step <= 22_500; step += 500) {
      append(folder, linesOf(step, step + 499));
      reads.push(await countReadBytes(() => writeRunReport(folder)));
    }
    const indexBytes = Deno.statSync(indexOf(folder)).size;
    ok(indexBytes < MIB / 2, `the index has ${indexBytes} bytes`);
    for (const read of reads) ok(read <= 4 * MIB + indexBytes + 2 * MIB, `${read} bytes were read`);
    const { record } = await renewRunReport(folder, null);
    append(folder, lineOf(22_501));
    const written = Deno.readTextFileSync(indexOf(folder));
    const read = await countReadBytes(() => renewRunReport(folder, record));
    ok(read <= 64 * 1024, `${read} bytes were read for one line`);
    strictEqual(
      Deno.readTextFileSync(indexOf(folder)),
      written,
      "for one line the index is not written anew",
    );
    const long = Deno.readTextFileSync(join(folder, "report.html"));
    match(long, /step 22501 of 10000000/);
    ok(long.length < 3 * short.length, `${long.length} characters, ${short.length} of a short run`);
    const again = await renewRunReport(folder, null);
    Deno.removeSync(indexOf(folder));
    strictEqual((await renewRunReport(folder, null)).body, again.body);
  }));

Deno.test("readNewMetrics() starts anew when the log is not the one of its index", () =>
  withFolder(async (folder) => {
    const path = join(folder, "metrics.jsonl");
    const whole = linesOf(1, 5000);
    const isAnew = async (what: string) => {
      const found = (await readNewMetrics(folder, null)).summary;
      assertSame(found, await readAnew(folder), what);
    };
    append(folder, whole);
    const before = await readNewMetrics(folder, null);
    ok(hasIndex(folder));
    {
      // As a resumed run does: the same steps again, with other numbers.
      using log = await openMetrics(path, 4750);
      strictEqual(log.keptStep, 4750);
    }
    append(folder, linesOf(4751, 5250, "b"));
    const after = await readNewMetrics(folder, before);
    strictEqual(after.summary.last?.step, 5250);
    await isAnew("a log that was cut and went on");
    assertSame(after.summary, await readAnew(folder));

    for (const text of ["", "{", "null", '{"format":"meft metrics index 0","hash":"","text":"{}"}']) {
      await readNewMetrics(folder, null);
      Deno.writeTextFileSync(indexOf(folder), text);
      await isAnew(`an index that is ${text}`);
    }
    await readNewMetrics(folder, null);
    const index = Deno.readTextFileSync(indexOf(folder));
    const changed = index.replace('\\"step\\":5250', '\\"step\\":5251');
    notStrictEqual(changed, index);
    Deno.writeTextFileSync(indexOf(folder), changed);
    await isAnew("an index that was changed");

    await readNewMetrics(folder, null);
    Deno.removeSync(path);
    append(folder, linesOf(1, 3));
    await isAnew("another log");
    Deno.removeSync(path);
    await isAnew("no log");
  }));

Deno.test("writeRunReport() tells of damaged lines and shows the others", () =>
  withFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "run.json"), "{}");
    append(folder, `${lineOf(1)}${"\0".repeat(5000)}\n{"st\n${lineOf(4)}`);
    const page = Deno.readTextFileSync(await writeRunReport(folder));
    match(page, /2 lines of metrics\.jsonl cannot be read and are left out, the first at byte \d+\./);
    match(page, /step 4 of 10000000/);
  }));
