// SPDX-License-Identifier: Apache-2.0
/** Studies on the demo's model: two steps of a few rows a cell. What makes two cells one is a matter of unit tests. */
import { deepStrictEqual, match, notDeepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Model } from "../../../lib/models/model.ts";
import { writeStudyReport } from "../../../lib/report/ablation_report.ts";
import { ablate, type AblateOptions, type FinishedCell, listCells } from "../../../lib/study/ablate.ts";
import type { Grid } from "../../../lib/study/grid.ts";
import { type CellResult, readResults } from "../../../lib/study/results.ts";
import type { TrainSettings } from "../../../lib/train/settings.ts";
import { DEMO_FACTS, DEMO_MODEL } from "../../e2e/command.ts";
import { copy } from "../../../scripts/folders.ts";
import { withFolder } from "../../fixtures/folder.ts";

const BASE: TrainSettings = {
  ...{ model: DEMO_MODEL, seqLen: 32, batchSize: 3, neurons: 16, experts: 4, topK: 4, steps: 2, lr: 2e-3 },
  ...{ threads: 1, device: "cpu", dtype: "f32", dataCache: "off" },
};
const SCORING = { limit: 2, maxNewTokens: 2 };

/** Runs a study in a folder of its own: `rows.jsonl` are six of the demo's facts, `others.jsonl` three more. */
class Studies {
  readonly out: string;
  readonly base: TrainSettings;

  constructor(readonly folder: string) {
    const facts = Deno.readTextFileSync(DEMO_FACTS).split("\n");
    const write = (name: string, from: number, to: number): string => {
      Deno.writeTextFileSync(`${folder}/${name}`, facts.slice(from, to).map((line) => `${line}\n`).join(""));
      return `${folder}/${name}`;
    };
    this.out = `${folder}/study`;
    this.base = { ...BASE, data: write("rows.jsonl", 0, 6) };
    write("others.jsonl", 6, 9);
  }

  run(grid: Grid | Grid[], options: AblateOptions = {}): Promise<FinishedCell[]> {
    return Array.fromAsync(ablate(this.base, grid, { ...SCORING, ...options }));
  }
}

function withStudies(body: (studies: Studies) => Promise<void>): Promise<void> {
  return withFolder((folder) => body(new Studies(folder)));
}

/** What must be the same whenever and wherever a cell runs. */
function withoutTimes({ numbers, ...rest }: CellResult): unknown {
  const { seconds: _s, tokensPerSecond: _t, scoringSeconds: _c, ...exact } = numbers!;
  return { ...rest, ...exact };
}

function metricsOf(folder: string): Record<string, number>[] {
  return Deno.readTextFileSync(`${folder}/metrics.jsonl`).trimEnd().split("\n").map((line) =>
    JSON.parse(line)
  );
}

const names = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name).sort();

Deno.test("ablate() runs every cell with its own numbers, on disk or not, and keeps what was asked for", () =>
  withStudies(async (studies) => {
    const { out } = studies;
    const opened: Pick<Model, "kernels">[] = [];
    const held: (number | undefined)[] = [];
    const grid = { neurons: [32, 16], seed: [1, 2] };
    const cells = await studies.run(grid, {
      out,
      keepAdapters: true,
      onModel: (model) => void opened.push(model as Model),
      onStep: () => held.push(opened[0]?.kernels.ledger.held.get("parameters")),
    });
    deepStrictEqual(cells.map(({ index, count, label, earlier }) => ({ index, count, label, earlier })), [
      { index: 0, count: 4, label: "neurons=32 seed=1", earlier: false },
      { index: 1, count: 4, label: "neurons=32 seed=2", earlier: false },
      { index: 2, count: 4, label: "neurons=16 seed=1", earlier: false },
      { index: 3, count: 4, label: "neurons=16 seed=2", earlier: false },
    ]);
    strictEqual(opened.length, 1, "cells share their model");
    strictEqual(held[5], held[7], "the parameters of the cells before were given back");
    ok(held[0]! > held[4]! && held[4]! > 0);
    for (const { cell, numbers, settings, seed } of cells) {
      const folder = `${out}/cells/${cell}`;
      deepStrictEqual(names(folder), ["adapter", "metrics.jsonl", "run.json"]);
      const lines = metricsOf(folder);
      const sum = (of: (line: Record<string, number>) => number) =>
        lines.reduce((total, line) => total + of(line), 0);
      strictEqual(seed, settings.seed);
      ok(numbers);
      deepStrictEqual([numbers.steps, lines.length], [2, 2]);
      deepStrictEqual([numbers.lossFirst, numbers.lossLast], lines.map(({ loss }) => loss));
      strictEqual(numbers.evalLoss, null);
      strictEqual(numbers.tokens, sum(({ tokens }) => tokens!));
      strictEqual(numbers.seconds, sum(({ tokens, tokensPerSecond }) => tokens! / tokensPerSecond!));
      strictEqual(numbers.tokensPerSecond, numbers.tokens / numbers.seconds);
      strictEqual(numbers.activeNeurons, lines[1]!.activeNeurons, "of the last tenth of the steps");
      strictEqual(numbers.bytes.activations, Math.max(...lines.map((line) => line.activationBytes!)));
      strictEqual(numbers.peakBytes, Object.values(numbers.bytes).reduce((total, count) => total + count, 0));
      ok(numbers.bytes.weights! > numbers.bytes.optimizer! && numbers.bytes.optimizer! > 0);
      strictEqual(numbers.scores["exact-match"]?.count, 2);
      ok(numbers.scoringSeconds > 0 && numbers.trainedShare > 0 && numbers.trainedShare < 1);
      ok(numbers.activity && numbers.activity.neuronsPerToken <= settings.topK!);
      ok(numbers.activity.deadNeurons >= 0 && numbers.activity.loadImbalance >= 1);
    }
    strictEqual(new Set(cells.map(({ numbers }) => numbers?.lossLast)).size, 4);
    // One cell alone, without a folder, and not after larger ones: the same bits.
    const [alone] = await studies.run({ neurons: [16], seed: [1] });
    deepStrictEqual({ ...withoutTimes(alone!) as object, index: 2, count: 4 }, withoutTimes(cells[2]!));

    deepStrictEqual(names(out), ["cells", "results.csv", "results.jsonl", "study.json"]);
    const stored = cells.map(({ index: _i, count: _c, earlier: _e, ...result }) => result);
    deepStrictEqual(await readResults(out), stored);
    const record = JSON.parse(Deno.readTextFileSync(`${out}/study.json`));
    deepStrictEqual([record.base, record.grid], [studies.base, grid]);
    deepStrictEqual(record.cells, cells.map(({ cell }) => cell));
    deepStrictEqual(record.scoring, { metrics: ["exact-match"], stop: ["\n"], sequences: 64, ...SCORING });
  }));

Deno.test("ablate() scores what a cell has learnt, and saves it four times on its way", () =>
  withStudies(async (studies) => {
    const saved: number[] = [];
    const grid = { steps: 19, batchSize: 6, neurons: 64, topK: 16, lr: 1e-2, schedule: "constant" } as const;
    const [cell] = await studies.run(grid, {
      out: studies.out,
      limit: 6,
      maxNewTokens: 8,
      onStep: ({ step, checkpoint }) => checkpoint !== null && saved.push(step),
    });
    deepStrictEqual(saved, [5, 10, 15, 19]);
    ok(cell?.numbers && cell.numbers.scores["exact-match"]!.mean >= 5 / 6);
    ok(cell.numbers.lossLast < 0.1 * cell.numbers.lossFirst);
    // The demo's model, by its configuration: each layer's attention, feed-forward and norms, then the embedding.
    const [hidden, layer] = [192, 192 * (192 + 64 + 64 + 192) + 3 * 192 * 512 + 2 * 192];
    const parameters = 4 * layer + 1024 * hidden + hidden;
    const trained = 4 * (2 * 64 * hidden + 4 * hidden);
    deepStrictEqual([cell.numbers.adapterParameters, cell.numbers.trainedParameters], [trained, trained]);
    strictEqual(cell.numbers.trainedShare, trained / parameters);
  }));

Deno.test("ablate() asks and watches the evaluation data where there is some, and nothing where no score is wanted", () =>
  withStudies(async (studies) => {
    const options = { limit: 9, maxNewTokens: 1 };
    const others = `${studies.folder}/others.jsonl`;
    const one = { experts: 8, activeExperts: 1, topK: 1, keys: "frozen" } as const;
    const files = [[studies.base.data as string], [others]];
    const [self, other] = await studies.run({ ...one, evalData: files }, options);
    const [none] = await studies.run(one, { ...options, metrics: [] });
    deepStrictEqual([self, other].map((cell) => cell?.numbers?.scores["exact-match"]?.count), [6, 3]);
    deepStrictEqual(none?.numbers?.scores, {});
    const { adapterParameters = 0, trainedParameters = 0 } = none?.numbers ?? {};
    strictEqual(adapterParameters, 4 * 192 * (2 * 16 + 8));
    strictEqual(trainedParameters, 4 * 192 * (16 + 8), "frozen keys are no part of what is trained");
    deepStrictEqual(
      none?.numbers?.activity,
      self?.numbers?.activity,
      "without it the data itself is looked at",
    );
    notDeepStrictEqual(other?.numbers?.activity, self?.numbers?.activity);
    strictEqual(other?.numbers?.lossLast, self?.numbers?.lossLast, "what is watched changes nothing");
    ok(other?.numbers?.evalLoss && other.numbers.evalLoss !== self?.numbers?.evalLoss);
  }));

Deno.test("ablate() returns finished cells at once, runs new ones, and keeps what other grids gave", () =>
  withStudies(async (studies) => {
    const { out } = studies;
    const [first] = await studies.run({ topK: [4] }, { out });
    deepStrictEqual(
      names(`${out}/cells/${first!.cell}`),
      ["metrics.jsonl", "run.json"],
      "no adapter is kept",
    );
    const stepped: string[] = [];
    const planned: unknown[] = [];
    const cells = await studies.run([{ part: "a", topK: [2] }, { part: "b", topK: [4, 2] }], {
      out,
      onCells: (known) => planned.push(known.map(({ label, done }) => [label, done])),
      onStep: (event, { label, index, count }) =>
        stepped.push(`${index + 1}/${count} ${label} ${event.step}`),
    });
    deepStrictEqual(planned, [[["topK=2", false], ["topK=4", true]]]);
    deepStrictEqual(cells.map(({ label, earlier }) => [label, earlier]), [["topK=2", false], [
      "topK=4",
      true,
    ]]);
    deepStrictEqual(cells.map(({ parts }) => parts.map(({ part }) => part)), [["a", "b"], ["b"]]);
    deepStrictEqual(cells[1]?.numbers, first?.numbers);
    deepStrictEqual(stepped, ["1/2 topK=2 1", "1/2 topK=2 2"]);

    stepped.length = 0;
    const onStep = () => stepped.push("");
    await studies.run({ topK: [4] }, { out, onStep });
    deepStrictEqual(stepped, []);
    const [other] = await studies.run({ topK: [4] }, { out, onStep, limit: 1 });
    strictEqual(stepped.length, 2, "scored otherwise, it is another cell");
    strictEqual(other?.numbers?.scores["exact-match"]?.count, 1);
    deepStrictEqual((await readResults(out)).map(({ label }) => label), ["topK=4", "topK=4", "topK=2"]);
    const listed = await listCells(studies.base, { topK: [4, 8] }, { ...SCORING, out });
    deepStrictEqual(listed.map(({ label, totalSteps, done }) => [label, totalSteps, done]), [
      ["topK=4", 2, true],
      ["topK=8", 2, false],
    ]);
    deepStrictEqual(listed.map(({ cell }) => cell === first?.cell), [true, false]);
    deepStrictEqual(listed[0]?.settings, { ...studies.base, topK: 4 });
    strictEqual(listed[0]?.trainedParameters, first?.numbers?.trainedParameters);
    ok(listed.every(({ predictedBytes, trainedParameters }) => predictedBytes > 4 * trainedParameters));
  }));

Deno.test("ablate() records a cell that fails, goes on, and tries it again from its start the next time", () =>
  withStudies(async (studies) => {
    const { out } = studies;
    const grid = { lr: [1e38, 2e-3] };
    const [failed, done] = await studies.run(grid, { out });
    strictEqual(failed?.status, "failed");
    match(failed?.error ?? "", /^Step 2: /);
    strictEqual(failed?.numbers, null);
    strictEqual(done?.status, "done");
    ok(names(`${out}/cells/${failed.cell}`).includes("checkpoints"), "what led there is kept");
    const steps: string[] = [];
    const again = await studies.run(grid, {
      out,
      onStep: ({ step }, { label }) => void steps.push(`${label} ${step}`),
    });
    deepStrictEqual(again.map(({ status, earlier }) => [status, earlier]), [
      ["failed", false],
      ["done", true],
    ]);
    deepStrictEqual(steps, ["lr=1e+38 1"]);
    deepStrictEqual((await readResults(out)).map(({ status }) => status), ["failed", "done"]);
    match(await Deno.readTextFile(`${out}/results.csv`), /,failed,/);
  }));

Deno.test("ablate() tries once more at its end to remove what of finished cells could not be removed", () =>
  withStudies(async ({ base, out }) => {
    for await (const { cell } of ablate(base, { seed: [1, 2] }, { ...SCORING, out })) {
      Deno.mkdirSync(`${out}/cells/${cell}/checkpoints/step-000001`, { recursive: true }); // as if held until now
    }
    for (const { name } of Deno.readDirSync(`${out}/cells`)) {
      deepStrictEqual(names(`${out}/cells/${name}`), ["metrics.jsonl", "run.json"]);
    }
  }));

/** A study of two cells that version 0.1.0 ran in a checkout's root, and the rows that it read. */
const EARLIER = fileURLToPath(new URL("../../fixtures/earlier_version", import.meta.url));

Deno.test("ablate() takes what a study of version 0.1.0 has finished", () =>
  withFolder(async (folder) => {
    const out = `${folder}/study`;
    await copy(`${EARLIER}/study`, out);
    const { base, grid, scoring: { metrics, limit, maxNewTokens } } = JSON.parse(
      Deno.readTextFileSync(`${out}/study.json`),
    );
    const known = await readResults(out);
    const settings = { ...base, data: `${EARLIER}/study_rows.jsonl` };
    const cells = await Array.fromAsync(ablate(settings, grid, { metrics, limit, maxNewTokens, out }));
    deepStrictEqual(cells.map(({ cell, earlier }) => [cell, earlier]), known.map(({ cell }) => [cell, true]));
    deepStrictEqual(cells.map(({ numbers }) => numbers), known.map(({ numbers }) => numbers));
    match(Deno.readTextFileSync(await writeStudyReport(out, await readResults(out))), /neurons=32/);
  }));

Deno.test("ablate() stops at its signal after the step under way, and goes on to the same numbers", () =>
  withStudies(async (studies) => {
    const grid = { seed: [1, 2], steps: 3 };
    const whole = await studies.run(grid, { out: `${studies.folder}/whole` });
    const controller = new AbortController();
    let steps = 0;
    const { out } = studies;
    const part = await studies.run(grid, {
      out,
      signal: controller.signal,
      onStep: () => ++steps === 5 && controller.abort(),
    });
    deepStrictEqual(part.map(({ label }) => label), ["seed=1 steps=3"]);
    strictEqual(steps, 5);
    deepStrictEqual((await readResults(out)).map(({ label }) => label), ["seed=1 steps=3"]);
    const [under] = names(`${out}/cells`).filter((name) => name !== part[0]?.cell);
    deepStrictEqual(names(`${out}/cells/${under}/checkpoints`), ["step-000002"], "one checkpoint is enough");
    deepStrictEqual(await studies.run(grid, { signal: AbortSignal.abort(), out }), [], "nothing is begun");
    const numbers: number[] = [];
    const rest = await studies.run(grid, { out, onStep: ({ step }) => numbers.push(step) });
    deepStrictEqual(numbers, [3], "two steps were taken and saved");
    const strip = (cells: FinishedCell[]) => cells.map(({ earlier: _, ...cell }) => withoutTimes(cell));
    deepStrictEqual(strip(rest), strip(whole));
  }));

Deno.test("ablate() finds the problems of all cells before the first starts", () =>
  withStudies(async (studies) => {
    const { base } = studies;
    const bad = studies.run([
      { part: "x", neurons: [16, 3], experts: [4, 7] },
      { method: "lora", rank: 0 },
    ], { out: studies.out });
    await rejects(bad, (error: Error) => {
      match(error.message, /The study has 5 problems/);
      match(error.message, /neurons=16 experts=7: experts is 7, which does not divide neurons = 16/);
      match(
        error.message,
        /neurons=3 experts=4, neurons=3 experts=7: topK is 4, but there are only 3 neurons/,
      );
      match(error.message, /method=lora rank=0: rank is 0/);
      return true;
    });
    await rejects(Deno.stat(studies.out), Deno.errors.NotFound, "nothing was begun");
    await rejects(Array.fromAsync(ablate({ ...base, model: "none" }, {})), /every cell: .*none/);
    const sizes: number[] = [];
    const checkMemory = ({ totalBytes }: { totalBytes: number }) => {
      sizes.push(totalBytes);
      return sizes.length > 1 ? "too large" : null;
    };
    const grid = { neurons: [16, 64, 128, 256, 512, 1024] };
    const refused = "neurons=64, neurons=128, neurons=256 and 2 more: too large";
    await rejects(studies.run(grid, { checkMemory }), new RegExp(refused));
    ok(sizes[0]! > 0 && sizes[0]! < sizes[1]!);
    await rejects(listCells(base, grid, { checkMemory }), /every cell: too large/);
  }));

Deno.test("ablate() has every cell measured that it trains, as it was trained and before its result is there, and no other", () =>
  withStudies(async (studies) => {
    const { out } = studies;
    const seen: string[] = [];
    const onTrained: AblateOptions["onTrained"] = async ({ cell, settings, adapter }, { label }) => {
      ok(!(await readResults(out)).some((result) => result.cell === cell), "its result is not there yet");
      // LoRA's B are zeros at the start.
      const trained = adapter.parameters.some((one) =>
        one.kind === "dense" && one.name.includes("lora_B") && one.data.some((value) => value !== 0)
      );
      seen.push(`${label} ${settings.seed} ${trained}`);
    };
    await studies.run({ method: "lora", seed: [1] }, { out, onTrained });
    const cells = await studies.run({ method: "lora", seed: [1, 2] }, { out, onTrained });
    deepStrictEqual(seen, ["method=lora seed=1 1 true", "method=lora seed=2 2 true"]);
    deepStrictEqual(cells.map(({ earlier }) => earlier), [true, false]);
  }));
