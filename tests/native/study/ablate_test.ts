// SPDX-License-Identifier: Apache-2.0
/** Studies on the demo's model, a few steps a cell. */
import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import { ablate, type AblateOptions, type FinishedCell, listCells } from "../../../lib/study/ablate.ts";
import type { Grid } from "../../../lib/study/grid.ts";
import type { CellResult } from "../../../lib/study/results.ts";
import { DEMO_FACTS, DEMO_MODEL } from "../../e2e/command.ts";
import { withFolder } from "../../fixtures/folder.ts";

const BASE = {
  model: DEMO_MODEL,
  data: DEMO_FACTS,
  seqLen: 64,
  batchSize: 8,
  neurons: 64,
  topK: 16,
  steps: 4,
  lr: 2e-3,
  threads: 1,
} as const;
const OPTIONS = { limit: 4, maxNewTokens: 4 };

async function runStudy(grid: Grid | Grid[], options: AblateOptions = {}): Promise<FinishedCell[]> {
  return await Array.fromAsync(ablate(BASE, grid, { ...OPTIONS, ...options }));
}

/** What must be the same whenever and wherever a cell runs. */
function withoutTimes({ numbers, ...rest }: CellResult): unknown {
  const { seconds: _s, tokensPerSecond: _t, scoringSeconds: _c, ...exact } = numbers!;
  return { ...rest, ...exact };
}

Deno.test("ablate() runs every cell with its own numbers, on disk or not", () =>
  withFolder(async (folder) => {
    const grid = { topK: [4, 16], seed: [1, 2] };
    const cells = await runStudy(grid, { out: `${folder}/study` });
    deepStrictEqual(cells.map(({ index, count, label, earlier }) => ({ index, count, label, earlier })), [
      { index: 0, count: 4, label: "topK=4 seed=1", earlier: false },
      { index: 1, count: 4, label: "topK=4 seed=2", earlier: false },
      { index: 2, count: 4, label: "topK=16 seed=1", earlier: false },
      { index: 3, count: 4, label: "topK=16 seed=2", earlier: false },
    ]);
    for (const { numbers, settings } of cells) {
      ok(
        numbers &&
          Object.values(numbers).every((value) =>
            value === null || typeof value === "object" || Number.isFinite(value)
          ),
      );
      strictEqual(numbers.steps, 4);
      strictEqual(numbers.scores["exact-match"]?.count, 4);
      ok(numbers.activity && numbers.activity.neuronsPerToken <= settings.topK!);
      ok(numbers.activity.deadNeurons >= 0 && numbers.activity.loadImbalance >= 1);
      strictEqual(numbers.peakBytes, Object.values(numbers.bytes).reduce((sum, count) => sum + count, 0));
    }
    strictEqual(new Set(cells.map(({ numbers }) => numbers?.lossLast)).size, 4);
    // One cell alone, without a folder, after others or before: the same bits.
    const [alone] = await runStudy({ topK: [16], seed: [1] });
    deepStrictEqual(
      { ...withoutTimes(alone!) as object, index: 2, count: 4 },
      withoutTimes(cells[2]!),
    );
    const names = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name).sort();
    deepStrictEqual(names(`${folder}/study`), ["cells", "results.csv", "results.jsonl", "study.json"]);
    deepStrictEqual(
      names(`${folder}/study/cells/${cells[0]!.cell}`).filter((name) => name !== "report.html"),
      ["metrics.jsonl", "run.json"],
    );
  }));

Deno.test("ablate() returns finished cells at once, runs new ones, and keeps what other grids gave", () =>
  withFolder(async (out) => {
    const [first] = await runStudy({ topK: [4] }, { out });
    const stepped: string[] = [];
    const cells = await runStudy([{ part: "a", topK: [16] }, { part: "b", topK: [4, 16] }], {
      out,
      keepAdapters: true,
      onStep: (_event, { label }) => stepped.push(label),
    });
    deepStrictEqual(cells.map(({ label, earlier }) => [label, earlier]), [["topK=16", false], [
      "topK=4",
      true,
    ]]);
    deepStrictEqual(cells[0]?.parts.map(({ part }) => part), ["a", "b"]);
    deepStrictEqual(cells[1]?.numbers, first?.numbers);
    deepStrictEqual(new Set(stepped), new Set(["topK=16"]));
    ok(Deno.statSync(`${out}/cells/${cells[0]!.cell}/adapter/adapter_model.safetensors`).isFile);
    await runStudy({ topK: [8] }, { out });
    strictEqual((await Deno.readTextFile(`${out}/results.jsonl`)).trimEnd().split("\n").length, 3);
  }));

Deno.test("ablate() records a cell that fails, goes on, and tries it again next time", () =>
  withFolder(async (out) => {
    const grid = { lr: [1e38, 2e-3] };
    const [failed, done] = await runStudy(grid, { out });
    strictEqual(failed?.status, "failed");
    match(failed?.error ?? "", /^Step 2: the loss is NaN|^Step 2: /);
    strictEqual(failed?.numbers, null);
    strictEqual(done?.status, "done");
    const again = await runStudy(grid, { out });
    deepStrictEqual(again.map(({ status, earlier }) => [status, earlier]), [["failed", false], [
      "done",
      true,
    ]]);
    match(await Deno.readTextFile(`${out}/results.csv`), /,failed,/);
  }));

Deno.test("ablate() stops at its signal after the step under way, and goes on to the same numbers", () =>
  withFolder(async (folder) => {
    const grid = { seed: [1, 2] };
    const whole = await runStudy(grid, { out: `${folder}/whole` });
    const controller = new AbortController();
    let steps = 0;
    const part = await runStudy(grid, {
      out: `${folder}/part`,
      signal: controller.signal,
      onStep: () => ++steps === 6 && controller.abort(),
    });
    deepStrictEqual(part.map(({ label }) => label), ["seed=1"]);
    const numbers: number[] = [];
    const rest = await runStudy(grid, {
      out: `${folder}/part`,
      onStep: ({ step }) => numbers.push(step),
    });
    deepStrictEqual(numbers, [3, 4], "two steps were taken and saved");
    const strip = (cells: FinishedCell[]) => cells.map(({ earlier: _, ...cell }) => withoutTimes(cell));
    deepStrictEqual(strip(rest), strip(whole));
  }));

Deno.test("ablate() finds the problems of all cells before the first starts", async () => {
  const bad = runStudy([{ part: "x", neurons: [64, 10], experts: [4, 7] }, { method: "lora", rank: 0 }]);
  await rejects(bad, (error: Error) => {
    match(error.message, /The study has 5 problems/);
    match(error.message, /neurons=64 experts=7: experts is 7, which does not divide neurons = 64/);
    match(
      error.message,
      /neurons=10 experts=4, neurons=10 experts=7: topK is 16, but there are only 10 neurons/,
    );
    match(error.message, /method=lora rank=0: rank is 0/);
    return true;
  });
  await rejects(Array.fromAsync(ablate({ ...BASE, model: "none" }, {})), /every cell: .*none/);
  await rejects(runStudy({}, { checkMemory: () => "too large" }), /every cell: too large/);
});

Deno.test("listCells() tells what would run and what is done", () =>
  withFolder(async (out) => {
    await runStudy({ topK: [4] }, { out });
    const cells = await listCells(BASE, { topK: [4, 16] }, { ...OPTIONS, out });
    deepStrictEqual(cells.map(({ label, totalSteps, done }) => [label, totalSteps, done]), [
      ["topK=4", 4, true],
      ["topK=16", 4, false],
    ]);
    ok(cells.every(({ trainedParameters, predictedBytes }) => trainedParameters > 0 && predictedBytes > 0));
  }));
