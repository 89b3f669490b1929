// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { type MetricsLine, MOST_LINE_BYTES, openMetrics, readMetrics } from "../../lib/train/metrics_log.ts";
import { train } from "../../lib/train/loop.ts";
import { plan } from "../../lib/train/plan.ts";
import { countReadBytes } from "../fixtures/count_reads.ts";
import { withFolder } from "../fixtures/folder.ts";
import { smallData, smallModel, smallOptions } from "../unit/train/small_run.ts";

const NUL_HOLE = "\0".repeat(300_000);

/** What the log is before, the step it is opened after, what is kept of it, and the step of its last line. */
const CUTS: Readonly<Record<string, readonly [string, number, string, number]>> = {
  "later lines, lines cut short and lines of something else": [
    '{"step":1}\n{"step":2}\nnull\n{"step":"2"}\n{"step":3}\n{"step":2,"lo',
    2,
    '{"step":1}\n{"step":2}\n',
    2,
  ],
  "an empty file": ["", 7, "", 0],
  "only later steps": ['{"step":8}\n{"step":9}\n', 7, "", 0],
  "a start from the beginning": ['{"step":1}\n', 0, "", 0],
  "nothing to take back": ['{"step":1}\n{"step":2}\n', 2, '{"step":1}\n{"step":2}\n', 2],
  "no newline at the end": ['{"step":1}\n{"step":2}', 2, '{"step":1}\n{"step":2}\n', 2],
  "lines of Windows": ['{"step":1}\r\n{"step":2}\r\n{"step":3}\r\n', 2, '{"step":1}\r\n{"step":2}\r\n', 2],
  "a hole after a loss of power": [`{"step":1}\n${NUL_HOLE}\n{"step":4}\n`, 3, '{"step":1}\n', 1],
  "a hole at the end": [`{"step":1}\n{"step":2}\n${NUL_HOLE}`, 2, '{"step":1}\n{"step":2}\n', 2],
  "a hole in the middle": [
    `{"step":1}\n${NUL_HOLE}{"step":4}\n{"st\n{"step":5}\n{"step":6}\n`,
    5,
    `{"step":1}\n${NUL_HOLE}{"step":4}\n{"st\n{"step":5}\n`,
    5,
  ],
};

for (const [name, [before, step, kept, keptStep]] of Object.entries(CUTS)) {
  Deno.test(`openMetrics() cuts what stands behind the step's line and goes on there: ${name}`, () =>
    withFolder(async (folder) => {
      const path = join(folder, "metrics.jsonl");
      Deno.writeTextFileSync(path, before);
      {
        using log = await openMetrics(path, step);
        strictEqual(log.keptStep, keptStep);
        strictEqual(Deno.readTextFileSync(path), kept);
        await log.append({ step: step + 1, loss: 0.5 });
        await log.sync();
      }
      strictEqual(Deno.readTextFileSync(path), `${kept}{"step":${step + 1},"loss":0.5}\n`);
    }));
}

Deno.test("openMetrics() makes a log where there is none", () =>
  withFolder(async (folder) => {
    const path = join(folder, "metrics.jsonl");
    using log = await openMetrics(path, 3);
    strictEqual(log.keptStep, 0);
    strictEqual(Deno.statSync(path).size, 0);
  }));

Deno.test("openMetrics() reads and writes what it takes back, whatever the log's length", () =>
  withFolder(async (folder) => {
    const path = join(folder, "metrics.jsonl");
    const line = (step: number) => JSON.stringify({ step, text: "x".repeat(1000) }) + "\n";
    const early = line(1);
    Deno.writeTextFileSync(path, early.repeat(20_000) + [2, 3, 4, 5].map(line).join(""));
    const inode = Deno.statSync(path).ino;
    const read = await countReadBytes(async () => {
      using log = await openMetrics(path, 3);
      strictEqual(log.keptStep, 3);
    });
    ok(read <= 2 ** 17, `${read} bytes were read`);
    deepStrictEqual([Deno.statSync(path).ino, Deno.statSync(path).size], [inode, 20_002 * early.length]);
  }));

Deno.test("openMetrics() leaves lists out of a line that no reader would take, and names them", () =>
  withFolder(async (folder) => {
    const path = join(folder, "metrics.jsonl");
    using log = await openMetrics(path, 0);
    const expertLoad = [new Array(MOST_LINE_BYTES / 2).fill(0)];
    await log.append({ step: 1, loss: 2, expertLoad });
    await log.append({ step: 2, expertLoad: [[1]] });
    deepStrictEqual(await linesOf(path), [{ step: 1, loss: 2, leftOut: "expertLoad" }, {
      step: 2,
      expertLoad: [[1]],
    }]);
  }));

Deno.test("readMetrics() gives damaged lines as such, and leaves one that is being written for later", () =>
  withFolder(async (folder) => {
    const path = join(folder, "metrics.jsonl");
    deepStrictEqual(await linesOf(path), []);
    const deep = "[".repeat(1_000_000);
    const lines = [
      '{"step":1}',
      "",
      '{"st',
      NUL_HOLE,
      deep,
      '{"step":null}',
      '{"step":1e999}',
      "7",
      '{"step":2}\r',
    ];
    Deno.writeTextFileSync(path, lines.join("\n") + '\n{"step":3}');
    deepStrictEqual(await linesOf(path), [{ step: 1 }, ...new Array(6).fill(null), { step: 2 }]);
  }));

Deno.test("readMetrics() steps over a line of any length with the memory of a block", () =>
  withFolder(async (folder) => {
    const path = join(folder, "metrics.jsonl");
    Deno.writeTextFileSync(path, '{"step":1}\n');
    {
      // A hole that takes no place on the disk.
      using file = Deno.openSync(path, { append: true });
      file.truncateSync(2 ** 28);
      file.writeSync(new TextEncoder().encode('\n{"step":2}\n'));
    }
    const before = Deno.memoryUsage().rss;
    let most = 0;
    const found: (MetricsLine | null)[] = [];
    for await (const block of readMetrics(path)) {
      found.push(...block.lines.map(({ line }) => line));
      most = Math.max(most, Deno.memoryUsage().rss - before);
    }
    deepStrictEqual(found, [{ step: 1 }, null, { step: 2 }]);
    ok(most <= 2 ** 27, `${most} bytes more`);
  }));

Deno.test("train() goes on when lines of its log are lost, and says which", () =>
  withFolder(async (folder) => {
    const out = join(folder, "run");
    const path = join(out, "metrics.jsonl");
    const run = async (steps: number, resume: boolean) => {
      using model = smallModel();
      const warnings: string[] = [];
      const onWarning = (warning: string) => warnings.push(warning);
      const controller = new AbortController();
      const options = { resume, onWarning, signal: controller.signal };
      for await (
        const { step } of train(plan(model, smallOptions({ out, steps: 6 })), smallData(), options)
      ) {
        if (step === steps) controller.abort();
      }
      return warnings;
    };
    deepStrictEqual(await run(4, false), []);
    const [first] = Deno.readTextFileSync(path).split("\n");
    Deno.writeTextFileSync(path, `${first}\n{"st`);
    deepStrictEqual(await run(5, true), [
      `${path} has no whole line of the steps from 2 to 4: the run goes on, its curves have a gap there`,
    ]);
    deepStrictEqual((await linesOf(path)).map((line) => line?.step), [1, 5]);
    deepStrictEqual(await run(6, true), []);
  }));

async function linesOf(path: string): Promise<(MetricsLine | null)[]> {
  return (await Array.fromAsync(readMetrics(path))).flatMap(({ lines }) => lines.map(({ line }) => line));
}
